//! Products of matrices.

use crate::error::SourceError;
use crate::eval::{Inputs, required};
use crate::ir::{Node, Tensor, element_count};

/// What `MatMul` and `Gemm` give, in 64-bit floats; `None` for other operators.
///
/// # Errors
/// If the operands do not fit.
pub fn evaluate(node: &Node, inputs: &Inputs<'_>) -> Result<Option<Tensor>, SourceError> {
    Ok(Some(match node.op_type.as_str() {
        "MatMul" => mat_mul(required(inputs, 0)?, required(inputs, 1)?)?,
        "Gemm" => gemm(node, inputs)?,
        _ => return Ok(None),
    }))
}

/// `[.., n, k] · [.., k, m]`, where one of them may have no extents in front, or `[.., n, k] · [k]`.
fn mat_mul(a: &Tensor, b: &Tensor) -> Result<Tensor, SourceError> {
    if let [depth] = *b.shape() {
        let product = mat_mul(a, &b.clone().reshaped(&[depth, 1])?)?;
        let shape = product.shape()[..product.shape().len() - 1].to_vec();
        return product.reshaped(&shape);
    }
    let parts = |tensor: &Tensor| match *tensor.shape() {
        [ref front @ .., rows, columns] => Ok((front.to_vec(), rows, columns)),
        _ => Err(SourceError::unsupported(format!("a product of shape {:?}", tensor.shape()))),
    };
    let ((front, rows, depth), (other, same, columns)) = (parts(a)?, parts(b)?);
    let fits = depth == same && (front == other || front.is_empty() || other.is_empty());
    if !fits {
        let shapes = format!("a product of shapes {:?} and {:?}", a.shape(), b.shape());
        return Err(SourceError::malformed(shapes));
    }
    let whole = if front.is_empty() { &other } else { &front };
    let shape: Vec<usize> = whole.iter().copied().chain([rows, columns]).collect();
    let batches: usize = whole.iter().product();
    let (left, right) = (a.to_f64(), b.to_f64());
    let mut data = Vec::with_capacity(element_count(&shape)?);
    for batch in 0..batches {
        let [first, second] = [(&front, rows), (&other, columns)]
            .map(|(own, extent)| if own.is_empty() { 0 } else { batch * extent * depth });
        for (y, x) in (0..rows).flat_map(|y| (0..columns).map(move |x| (y, x))) {
            let products = (0..depth).map(|k| left[first + y * depth + k] * right[second + k * columns + x]);
            data.push(products.sum());
        }
    }
    Tensor::f64(&shape, data)
}

/// `alpha · A · B + beta · C`, with transposed operands where it says so.
fn gemm(node: &Node, inputs: &Inputs<'_>) -> Result<Tensor, SourceError> {
    let operand = |position: usize, transposed: &str| -> Result<Tensor, SourceError> {
        let tensor = required(inputs, position)?;
        match *tensor.shape() {
            [rows, columns] if node.int(transposed, 0) != 0 => {
                let numbers = tensor.to_f64();
                let turned = (0..rows * columns).map(|at| numbers[at % rows * columns + at / rows]).collect();
                Tensor::f64(&[columns, rows], turned)
            }
            [_, _] => Ok(tensor.clone()),
            _ => Err(SourceError::malformed("expected matrices")),
        }
    };
    let product = mat_mul(&operand(0, "transA")?, &operand(1, "transB")?)?;
    let (alpha, beta) = (f64::from(node.float("alpha", 1.0)), f64::from(node.float("beta", 1.0)));
    let columns = product.shape()[1];
    let addend = |index: usize| -> Result<f64, SourceError> {
        let Some(c) = inputs.get(2).copied().flatten() else { return Ok(0.0) };
        match *c.shape() {
            _ if c.len() == 1 => Ok(c.get(0)),
            [own] | [1, own] if own == columns => Ok(c.get(index % columns)),
            _ if c.shape() == product.shape() => Ok(c.get(index)),
            _ => Err(SourceError::unsupported(format!("an addend of shape {:?}", c.shape()))),
        }
    };
    let data: Result<Vec<f64>, SourceError> =
        (0..product.len()).map(|at| Ok(alpha * product.get(at) + beta * addend(at)?)).collect();
    Tensor::f64(product.shape(), data?)
}
