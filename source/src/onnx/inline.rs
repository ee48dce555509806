//! Local functions, and branches whose condition is known, in the place of the nodes that stand for them.
//!
//! ```text
//! f(x) of the model's functions       ─►  the nodes of f, inner tensors named after the call's output
//! If(condition), condition constant   ─►  the nodes of the branch that is taken
//! ```

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use prost::Message as _;

use super::schema::{AttributeProto, FunctionProto, GraphProto, NodeProto, OperatorSetIdProto};
use crate::error::{ErrorKind, SourceError};
use crate::eval;
use crate::ir::{Graph, Tensor, TensorId};

/// Deepest nesting of functions and branches.
pub const MAX_DEPTH: usize = 32;
/// Most bytes that bodies may take, each as often as it is used.
const MAX_BYTES: usize = 1 << 28;
/// Most branches.
const MAX_BRANCHES: usize = 1000;
/// Most nodes, and most elements of a tensor, that a condition is computed from.
const MAX_CONDITION: usize = 4096;

/// A model's functions, and what was inlined so far.
#[derive(Default)]
pub struct Inliner {
    functions: HashMap<(String, String), Rc<FunctionProto>>,
    bytes: usize,
    branches: usize,
}

impl Inliner {
    pub fn new(functions: Vec<FunctionProto>) -> Self {
        let key = |function: &FunctionProto| {
            let domain = own_domain(function.domain.as_deref().unwrap_or_default()).to_owned();
            (domain, function.name.clone().unwrap_or_default())
        };
        let functions = functions.into_iter().map(|function| (key(&function), Rc::new(function))).collect();
        Self { functions, ..Self::default() }
    }

    /// The nodes that a call of a function stands for; `None` for other nodes.
    pub fn call(&mut self, node: &NodeProto, opset: i64) -> Result<Option<Vec<NodeProto>>, SourceError> {
        if self.functions.is_empty() {
            return Ok(None);
        }
        let domain = own_domain(node.domain.as_deref().unwrap_or_default()).to_owned();
        let key = (domain, node.op_type.clone().unwrap_or_default());
        let Some(function) = self.functions.get(&key).cloned() else { return Ok(None) };
        check_opset(&function.opset_import, opset)?;
        if node.input.len() > function.input.len() || node.output.len() > function.output.len() {
            return Err(SourceError::malformed("has more inputs or outputs than the function that it calls"));
        }
        self.spend(function.encoded_len())?;
        let mut names = BTreeMap::new();
        for (position, name) in function.input.iter().enumerate() {
            names.insert(name.clone(), node.input.get(position).cloned().unwrap_or_default());
        }
        let prefix = prefix(node);
        let mut copies = Vec::new();
        for (inner, outer) in function.output.iter().zip(&node.output).filter(|(_, outer)| !outer.is_empty())
        {
            // What a function hands on it does not write.
            match names.get(inner) {
                Some(source) => copies.push(identity(source, outer)),
                None => _ = names.insert(inner.clone(), outer.clone()),
            }
        }
        let mut nodes = Vec::with_capacity(function.node.len() + copies.len());
        for inner in &function.node {
            let mut inner = inner.clone();
            take_attributes(&mut inner, node, &function.attribute_proto);
            rename(&mut inner, &mut names, &prefix);
            name_after(&mut inner, node);
            nodes.push(inner);
        }
        nodes.extend(copies);
        Ok(Some(nodes))
    }

    /// The branch that an `If` takes, with its names; initializers are for the caller to define.
    pub fn branch(&mut self, node: &NodeProto, condition: bool) -> Result<GraphProto, SourceError> {
        self.branches += 1;
        if self.branches > MAX_BRANCHES {
            return Err(SourceError::new(ErrorKind::TooLarge, format!("more than {MAX_BRANCHES} branches")));
        }
        let name = if condition { "then_branch" } else { "else_branch" };
        let attribute = node.attribute.iter().find(|attribute| attribute.name.as_deref() == Some(name));
        let graph = attribute.and_then(|attribute| attribute.g.as_deref());
        let graph = graph.ok_or_else(|| SourceError::malformed(format!("expected a {name}")))?;
        if graph.output.len() != node.output.len() {
            return Err(SourceError::malformed(format!("outputs of another number than its {name}")));
        }
        self.spend(graph.encoded_len())?;
        let mut graph = graph.clone();
        let (prefix, mut names) = (prefix(node), BTreeMap::new());
        for initializer in &mut graph.initializer {
            let own = initializer.name.get_or_insert_default();
            let new = format!("{prefix}/{own}");
            names.insert(std::mem::replace(own, new.clone()), new);
        }
        for inner in &mut graph.node {
            rename_definitions(inner, &mut names, &prefix);
        }
        for inner in &mut graph.node {
            rename_uses(inner, &names);
            name_after(inner, node);
        }
        for (output, outer) in graph.output.iter().zip(&node.output).filter(|(_, outer)| !outer.is_empty()) {
            let inner = output.name.clone().unwrap_or_default();
            graph.node.push(identity(names.get(&inner).unwrap_or(&inner), outer));
        }
        Ok(graph)
    }

    fn spend(&mut self, bytes: usize) -> Result<(), SourceError> {
        self.bytes += bytes;
        if self.bytes > MAX_BYTES {
            return Err(SourceError::new(
                ErrorKind::TooLarge,
                "functions and branches, inlined, take more than 256 MiB",
            ));
        }
        Ok(())
    }
}

/// The default domain has two names.
fn own_domain(domain: &str) -> &str {
    if domain == "ai.onnx" { "" } else { domain }
}

fn check_opset(imports: &[OperatorSetIdProto], opset: i64) -> Result<(), SourceError> {
    let default =
        imports.iter().find(|import| own_domain(import.domain.as_deref().unwrap_or_default()).is_empty());
    match default.and_then(|import| import.version).filter(|&own| own != opset) {
        None => Ok(()),
        Some(own) => Err(SourceError::unsupported(format!(
            "calls a function of operator set {own} in a model of operator set {opset}; expected the same"
        ))),
    }
}

/// What inner tensors are named after: an output, which no other node has.
fn prefix(node: &NodeProto) -> String {
    node.output.iter().find(|name| !name.is_empty()).cloned().unwrap_or_default()
}

fn identity(source: &str, output: &str) -> NodeProto {
    NodeProto {
        op_type: Some("Identity".into()),
        input: vec![source.to_owned()],
        output: vec![output.to_owned()],
        ..Default::default()
    }
}

/// A node's name begins with that of the node in whose place it stands.
fn name_after(inner: &mut NodeProto, outer: &NodeProto) {
    let own = |node: &NodeProto| node.name.clone().filter(|name| !name.is_empty());
    if let (Some(outer), Some(name)) = (own(outer), own(inner)) {
        inner.name = Some(format!("{outer}/{name}"));
    }
}

/// Attributes of a function's node that are those of the call, or defaults of the function.
fn take_attributes(inner: &mut NodeProto, call: &NodeProto, defaults: &[AttributeProto]) {
    let taken = |attribute: AttributeProto| {
        let Some(wanted) = attribute.ref_attr_name.clone().filter(|name| !name.is_empty()) else {
            return Some(attribute);
        };
        let named = |other: &&AttributeProto| other.name.as_deref() == Some(&wanted);
        let found = call.attribute.iter().find(named).or(defaults.iter().find(named));
        found.map(|found| AttributeProto { name: attribute.name, ..found.clone() })
    };
    inner.attribute = std::mem::take(&mut inner.attribute).into_iter().filter_map(taken).collect();
}

/// Renames what a node reads and writes; what is written for the first time gets a new name.
fn rename(node: &mut NodeProto, names: &mut BTreeMap<String, String>, prefix: &str) {
    rename_uses(node, names);
    rename_definitions(node, names, prefix);
}

fn rename_definitions(node: &mut NodeProto, names: &mut BTreeMap<String, String>, prefix: &str) {
    for output in node.output.iter_mut().filter(|name| !name.is_empty()) {
        let new = names.entry(output.clone()).or_insert_with(|| format!("{prefix}/{output}"));
        output.clone_from(new);
    }
}

/// Renames inputs, and what graphs among the attributes read of the names outside.
fn rename_uses(node: &mut NodeProto, names: &BTreeMap<String, String>) {
    let rename = |name: &mut String| {
        if let Some(new) = names.get(name.as_str()) {
            name.clone_from(new);
        }
    };
    node.input.iter_mut().for_each(rename);
    for graph in node.attribute.iter_mut().filter_map(|attribute| attribute.g.as_deref_mut()) {
        graph.node.iter_mut().for_each(|inner| rename_uses(inner, names));
        graph.output.iter_mut().filter_map(|output| output.name.as_mut()).for_each(rename);
    }
}

/// A condition that no input of the graph decides.
pub fn condition(graph: &Graph, id: TensorId) -> Option<bool> {
    let producers = graph.producers();
    let mut known: HashMap<TensorId, Rc<Tensor>> = HashMap::new();
    // Operands before what is computed of them, without recursion: graphs may be deep.
    let mut stack = vec![id];
    let mut steps = 0;
    while let Some(&id) = stack.last() {
        steps += 1;
        if steps > MAX_CONDITION {
            return None;
        }
        if known.contains_key(&id) {
            stack.pop();
            continue;
        }
        if let Some(constant) = graph.constant(id) {
            known.insert(id, Rc::new(Tensor::clone(constant)));
            continue;
        }
        let node = &graph.nodes[producers[id.0]?];
        if node.is("Shape") && graph.inputs.contains(&node.input(0)?) {
            let shape = graph.tensor(node.input(0)?).shape.as_ref().filter(|shape| !shape.contains(&0))?;
            if node.attribute("start").is_some() || node.attribute("end").is_some() {
                return None;
            }
            let extents: Vec<i64> = shape.iter().map(|&extent| extent as i64).collect();
            known.insert(id, Rc::new(Tensor::indices(&extents)));
            continue;
        }
        let unknown: Vec<TensorId> =
            node.inputs.iter().flatten().copied().filter(|input| !known.contains_key(input)).collect();
        if !unknown.is_empty() {
            stack.extend(unknown);
            continue;
        }
        let inputs: Vec<Option<&Tensor>> =
            node.inputs.iter().map(|input| input.map(|input| known[&input].as_ref())).collect();
        if inputs.iter().flatten().any(|tensor| tensor.len() > MAX_CONDITION) {
            return None;
        }
        let outputs = eval::evaluate(node, &inputs, graph.opset).ok()??;
        for (&output, tensor) in node.outputs.iter().zip(outputs) {
            known.insert(output, Rc::new(tensor));
        }
        known.get(&id)?;
    }
    let condition = known.get(&id)?.scalar()?;
    Some(condition != 0.0)
}

#[cfg(test)]
mod tests;
