//! Heads of several convolutions a map that the export leaves undecoded.

use super::*;

/// Heads as they are: what they are is told by their channels, or by the names of the classes.
#[test]
fn raw_heads_of_parts() {
    type Find = fn(&Options) -> Options;
    let named: Find = |options| Options {
        class_names: (0..64).map(|class| format!("class {class}")).collect(),
        ..options.clone()
    };
    let plain: Find = Options::clone;
    let told: Find = |options| Options { head: families::by_name("yolov8"), ..options.clone() };
    let sixteen = BoxRule::Distributions { bins: 16 };
    let cases: [(&[usize], Find, BoxRule, u32); 8] = [
        (&[64, 3], plain, sixteen, 3),
        (&[4, 64], plain, sixteen, 4),
        (&[4, 64], named, BoxRule::Distances, 64),
        (&[3, 4], plain, BoxRule::Distances, 3),
        (&[20, 4], told, BoxRule::Distributions { bins: 5 }, 4),
        (&[20, 7], plain, BoxRule::Distributions { bins: 5 }, 7),
        (&[3, 4, 1], plain, BoxRule::GridExp, 3),
        (&[4, 1, 1], plain, BoxRule::GridExp, 1),
    ];
    for (channels, options, boxes, classes) in cases {
        let (mut net, maps) = parts(channels);
        net.builder.graph.outputs = maps.iter().flat_map(|(heads, _)| heads).copied().collect();
        let Converted { model, report } = convert(&net, &options(&Options::default())).unwrap();
        assert_eq!((model.detect.boxes, model.detect.classes), (boxes, classes), "{channels:?}");
        for (output, index) in model.outputs.iter().zip(0..) {
            let OutputKind::Head(MapPart { map, .. }) = output.kind else { panic!("{:?}", output.kind) };
            assert_eq!(map, index / channels.len() as u32);
        }
        assert_eq!(verdict(&net, &model), Verdict::Equal);
        let warned = report.warnings.iter().any(|warning| warning.message.contains("(--head)"));
        let one_family = boxes == BoxRule::GridExp || options(&Options::default()).head.is_some();
        assert_eq!(warned, !one_family, "{:?}", report.warnings);
    }
    let (mut net, maps) = parts(&[5, 7]);
    net.builder.graph.outputs = maps.iter().flat_map(|(heads, _)| heads).copied().collect();
    let error = convert(&net, &Options::default()).unwrap_err().to_string();
    assert!(error.contains("raw heads of 5 and 7 channels: give the class names"), "{error}");
    let anchors = Options { anchors: Some(vec![vec![[1.0, 1.0]]; 2]), ..Options::default() };
    let (mut net, maps) = parts(&[64, 3]);
    net.builder.graph.outputs = maps.iter().flat_map(|(heads, _)| heads).copied().collect();
    let error = convert(&net, &anchors).unwrap_err().to_string();
    assert!(error.contains("have no anchors: leave out --anchors"), "{error}");
}

/// Heads that are joined for each map, and YOLOX's rows of boxes before their decode.
#[test]
fn raw_heads_joined() {
    let (mut net, maps) = parts(&[64, CLASSES]);
    net.builder.graph.outputs = maps.iter().map(|(heads, _)| net.joined_at(heads, 1)).collect();
    let model = convert(&net, &Options::default()).unwrap().model;
    for (output, map) in model.outputs.iter().zip(0..) {
        let expected = Arranged {
            numbers: Numbers::Logits,
            layout: Layout::Planes,
            of: Scope::Map(map),
            first: 0,
            count: 64 + CLASSES as u32,
        };
        assert_eq!(output.kind, OutputKind::Arranged(expected));
    }
    assert_eq!(verdict(&net, &model), Verdict::Equal);
    // Classes of as many channels as boxes have.
    let (mut net, maps) = parts(&[4, 1, 4]);
    let joined: Vec<TensorId> = maps
        .iter()
        .map(|(heads, stride)| {
            let [objectness, classes] = [heads[1], heads[2]].map(|head| net.sigmoid(head));
            let joined = net.joined_at(&[heads[0], objectness, classes], 1);
            net.reshaped(joined, &[1, 9, cells(*stride) as i64])
        })
        .collect();
    let columns = net.joined_at(&joined, 2);
    net.builder.graph.outputs =
        vec![net.builder.node("Transpose", &[columns], &[("perm", ints(&[0, 2, 1]))])];
    let model = convert(&net, &Options::default()).unwrap().model;
    assert_eq!((model.detect.boxes, model.detect.classes), (BoxRule::GridExp, 4));
    let expected =
        Arranged { numbers: Numbers::RawBoxes, layout: Layout::Rows, of: Scope::Maps, first: 0, count: 9 };
    assert_eq!(model.outputs[0].kind, OutputKind::Arranged(expected));
    assert_eq!(verdict(&net, &model), Verdict::Equal);
}

/// Parts that differ between maps, and more of them than any family has.
#[test]
fn parts_that_fit_no_family_are_refused() {
    let (mut net, maps) = parts(&[64, 3, 2, 5]);
    net.builder.graph.outputs = maps.iter().flat_map(|(heads, _)| heads).copied().collect();
    let error = convert(&net, &Options::default()).unwrap_err().to_string();
    assert!(error.contains("4 heads of [16, 16] cells; expected one, or boxes and classes"), "{error}");
    let (mut net, maps) = parts(&[64, 3, 4, 7]);
    let [(fine, _), (coarse, _)] = &maps;
    net.builder.graph.outputs = vec![fine[0], fine[1], coarse[2], coarse[3]];
    let error = convert(&net, &Options::default()).unwrap_err().to_string();
    assert!(error.contains("of another feature map; expected the same numbers of a box"), "{error}");
}
