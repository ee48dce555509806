use super::*;
use crate::eval;
use crate::ir::{Builder, Domain};

fn upgraded(op_type: &str, attributes: &[(&str, Attribute)]) -> Result<(Graph, Node), SourceError> {
    let (mut builder, image) = Builder::picture(4, 4);
    builder.node(op_type, &[image], attributes);
    let mut node_of = builder.graph.nodes.remove(0);
    node(&mut builder.graph, &mut node_of)?;
    Ok((builder.graph, node_of))
}

#[test]
fn scales_and_bounds_become_inputs() {
    let scales = Attribute::Floats(vec![1.0, 1.0, 2.0, 2.0]);
    let (graph, upsample) = upgraded("Upsample", &[("scales", scales)]).unwrap();
    assert_eq!(graph.constant_input(&upsample, 1).unwrap().to_f64(), [1.0, 1.0, 2.0, 2.0]);
    let ints = |values: &[i64]| Attribute::Ints(values.to_vec());
    let attributes = [("starts", ints(&[1])), ("ends", ints(&[3])), ("axes", ints(&[2]))];
    let (graph, slice) = upgraded("Slice", &attributes).unwrap();
    let picture = Tensor::f32(&[1, 1, 4, 1], vec![0.0, 1.0, 2.0, 3.0]).unwrap();
    let mut inputs = vec![Some(&picture)];
    inputs.extend((1..4).map(|position| graph.constant_input(&slice, position).map(AsRef::as_ref)));
    assert_eq!(slice.domain, Domain::Onnx);
    assert_eq!(eval::evaluate(&slice, &inputs, 9).unwrap().unwrap()[0].to_f64(), [1.0, 2.0]);
}

#[test]
fn meanings_that_are_gone_are_refused() {
    for (op_type, attribute, value, what) in
        [("BatchNormalization", "spatial", 0, "spatial = 0"), ("Add", "broadcast", 1, "operator set 7")]
    {
        let error = upgraded(op_type, &[(attribute, Attribute::Int(value))]).unwrap_err();
        assert!(error.to_string().contains(what), "{error}");
        assert!(upgraded(op_type, &[(attribute, Attribute::Int(1 - value))]).is_ok());
    }
}
