//! Quantizers that are written out as arithmetic, as `FakeQuant` nodes.
//!
//! ```text
//! x ─ Div(s) ─ Add(z) ─ Clip ─ Round ─ Sub(z) ─ Mul(s)  ─►  FakeQuant
//! x ─ Div(s) ─ Clip ─ Round ─ Add(z) ─ Sub(z) ─ Mul(s)  ─►  FakeQuant
//! ```
//!
//! That is how they look once `clamps` has moved the clamps. Where real numbers become codes by other arithmetic, such as a
//! factor `1 / s`, or codes become real numbers by another scale, the nodes stay: lowering cuts them where they round, and
//! computes what the graph says. As one node a quantizer can be moved.

use ylb_source::ir::{Graph, Node, TensorId};
use ylb_source::quantizer::{Order, PerAxis, Quantizer, Rounding};

use super::quantizers::fake_quant;
use super::spelled::{clamp, integer_origin, offset, origin, producer, rounds, with_number};

/// Longest way from the last node back to the rounding, and from there to the first.
const MAX_STEPS: usize = 8;
/// Most bits of a quantizer.
const MAX_BITS: u32 = 8;

/// Runs the pass, behind `clamps`. Returns how many quantizers were found.
pub fn run(graph: &mut Graph) -> usize {
    let producers = graph.producers();
    let readers = live_readers(graph, &producers);
    let mut found = 0;
    for index in 0..graph.nodes.len() {
        let node = &graph.nodes[index];
        let Some(&output) = node.outputs.first() else { continue };
        if graph.constant(output).is_some() {
            continue;
        }
        let Some((input, quantizer)) = quantizer(graph, &producers, &readers, node) else { continue };
        graph.nodes[index] = fake_quant(node, input, quantizer);
        found += 1;
    }
    found
}

/// How many nodes that something needs read each tensor.
fn live_readers(graph: &Graph, producers: &[Option<usize>]) -> Vec<usize> {
    let mut readers = vec![0; graph.tensors.len()];
    let mut needed = vec![false; graph.nodes.len()];
    let mut pending = graph.outputs.clone();
    graph.outputs.iter().for_each(|id| readers[id.0] += 1);
    while let Some(id) = pending.pop() {
        let Some(index) = producers[id.0].filter(|&index| !needed[index]) else { continue };
        needed[index] = true;
        for input in graph.nodes[index].inputs.iter().flatten() {
            readers[input.0] += 1;
            pending.push(*input);
        }
    }
    readers
}

/// The input and the quantizer whose last node this is.
fn quantizer(
    graph: &Graph,
    producers: &[Option<usize>],
    readers: &[usize],
    node: &Node,
) -> Option<(TensorId, Quantizer)> {
    let (mut id, scale, _) = with_number(graph, node).filter(|_| node.is("Mul"))?;
    if !(scale > 0.0 && scale.is_finite() && f64::from(scale as f32) == scale) {
        return None;
    }
    // From the last node back to the rounding: integers, and what is added to each on the way.
    let mut integers = Vec::new();
    let mut total = 0.0;
    let rounding = loop {
        let copy = id;
        id = integer_origin(graph, producers, id);
        let node = producer(graph, producers, id)?;
        if readers[copy.0] != 1 || readers[id.0] != 1 || integers.len() > MAX_STEPS {
            return None;
        }
        integers.push((id, total));
        if rounds(node) {
            break node;
        }
        let (source, number) = offset(graph, node).filter(|(_, number)| number.fract() == 0.0)?;
        (id, total) = (source, total + number);
    };
    let (input, first) = inner(graph, producers, rounding, scale)?;
    let [low, high] = first.bounds;
    let whole = |bound: f64| bound.fract() == 0.0 && bound.abs() <= 65536.0;
    if !whole(low) || !whole(high) {
        return None;
    }
    // A code is what some tensor holds: the rounding, or the rounding and its zero point.
    let (order, zero_point, codes) = if first.added == 0.0 && total == 0.0 {
        let after = |&(id, later): &(TensorId, f64)| (id, -later);
        let mut codes = integers.iter().map(after).filter(|&(id, _)| !graph.tensor(id).name.is_empty());
        let rounded = (integers.last()?.0, 0.0);
        let shifted = codes.find(|&(_, zero)| zero != 0.0);
        let (id, zero) = shifted.unwrap_or(rounded);
        (Order::RoundThenClamp, zero, id)
    } else if first.added == -total && total.fract() == 0.0 {
        (Order::ClampThenRound, first.added, integers.last()?.0)
    } else {
        return None;
    };
    let moved = if order == Order::RoundThenClamp { zero_point } else { 0.0 };
    let quantizer = Quantizer {
        order,
        rounding: mode(rounding)?,
        low: (low + moved) as i64,
        high: (high + moved) as i64,
        scale: PerAxis::uniform(scale as f32),
        zero_point: PerAxis::uniform(zero_point as f32),
        codes_name: graph.tensor(codes).name.clone(),
    };
    (quantizer.validate().is_ok() && quantizer.bits() <= MAX_BITS).then_some((input, quantizer))
}

/// What lies between a real number and its rounding.
struct Inner {
    added: f64,
    bounds: [f64; 2],
}

/// From a rounding back to the real number that a scale divides.
fn inner(
    graph: &Graph,
    producers: &[Option<usize>],
    rounding: &Node,
    scale: f64,
) -> Option<(TensorId, Inner)> {
    let mut inner = Inner { added: 0.0, bounds: [f64::NEG_INFINITY, f64::INFINITY] };
    let mut id = rounding.input(0)?;
    for _ in 0..MAX_STEPS {
        id = origin(graph, producers, id);
        let node = producer(graph, producers, id)?;
        let scaled = with_number(graph, node).filter(|&(_, number, first)| match node.op_type.as_str() {
            "Div" => node.is("Div") && !first && number == scale,
            // The product is the quotient where both are powers of two.
            "Mul" => node.is("Mul") && scale.log2().fract() == 0.0 && number == 1.0 / scale,
            _ => false,
        });
        if let Some((source, ..)) = scaled {
            return Some((source, inner));
        }
        if let Some((source, [low, high])) = clamp(graph, node).filter(|_| inner.added == 0.0) {
            // Of two clamps the outer one holds what the inner one gives.
            let [outer_low, outer_high] = inner.bounds;
            inner.bounds = [low, high].map(|bound| bound.max(outer_low).min(outer_high));
            id = source;
            continue;
        }
        let (source, number) = offset(graph, node).filter(|_| inner.added == 0.0)?;
        inner.added = number;
        id = source;
    }
    None
}

fn mode(node: &Node) -> Option<Rounding> {
    match node.op_type.as_str() {
        "Round" => Some(Rounding::HalfEven),
        "Floor" => Some(Rounding::Floor),
        "Ceil" => Some(Rounding::Ceil),
        _ => Rounding::named(node.text("rounding_mode", "ROUND")).ok(),
    }
}
