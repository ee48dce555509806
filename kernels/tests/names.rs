//! Every registered name follows the grammar of docs/kernels.md.

use std::collections::HashSet;

use ylb_kernels::registry::{self, all_kernels};
use ylb_kernels::requantize::RequantizeKernel;
use ylb_kernels::ukernel::{Engine, MicroKernel};

/// Takes the next part of a name; it must be one of `allowed`.
fn one_of<'a>(parts: &mut impl Iterator<Item = &'a str>, allowed: &[&str]) -> Result<&'a str, String> {
    match parts.next() {
        Some(part) if allowed.contains(&part) => Ok(part),
        part => Err(format!("{part:?} is none of {allowed:?}")),
    }
}

/// Takes an operand: `u`, `s` or `b`, then a width of 1 to 8 or `x`.
fn operand<'a>(parts: &mut impl Iterator<Item = &'a str>) -> Result<(), String> {
    let part = parts.next().unwrap_or_default();
    let width = part.strip_prefix(['u', 's', 'b']).unwrap_or_default();
    let known = width == "x" || width.parse::<u8>().is_ok_and(|width| (1..=8).contains(&width));
    known.then_some(()).ok_or_else(|| format!("{part:?} is not an operand"))
}

/// `<op>_<dst>_<act>_<wgt>_<tile>_<engine>[_<tech>][_<tuning>]`, or `requantize_u8_i32_<form>_<engine>`.
fn check(kernel: &dyn MicroKernel) -> Result<(), String> {
    let mut parts = kernel.name().split('_');
    one_of(&mut parts, &[kernel.op()])?;
    let Some([mr, nr]) = kernel.tile() else {
        one_of(&mut parts, &["u8"])?;
        one_of(&mut parts, &["i32"])?;
        one_of(
            &mut parts,
            &["thresholds16", "thresholds32", "narrow", "fixed", "wide", "cells", "search", "many"],
        )?;
        return ends_in_engine(kernel, parts);
    };
    one_of(&mut parts, &["i32"])?;
    operand(&mut parts)?;
    operand(&mut parts)?;
    one_of(&mut parts, &[&format!("{mr}x{nr}")])?;
    ends_in_engine(kernel, parts)
}

fn ends_in_engine<'a>(
    kernel: &dyn MicroKernel,
    mut parts: impl Iterator<Item = &'a str>,
) -> Result<(), String> {
    let engine = one_of(&mut parts, &Engine::ALL.map(Engine::name))?;
    let rest: Vec<&str> = parts.collect();
    let (techs, tunings): (&[&str], &[&str]) = match engine {
        "neon" => (&["cnt", "tbl", "mlal", "mull", "padal", "dotprod", "i8mm"], &["a53", "a72", "a76"]),
        "avx2" => (&["cnt", "tbl", "madd", "maddubs"], &[]),
        "avx512" => (&["cnt", "vnni"], &[]),
        _ => (&[], &[]),
    };
    let known = match rest[..] {
        [] => true,
        [tech] => techs.contains(&tech),
        [tech, tuning] => techs.contains(&tech) && tunings.contains(&tuning),
        _ => false,
    };
    if !known {
        return Err(format!("{rest:?} is no technique with an optional tuning of {engine}"));
    }
    let dotprod = rest.first() == Some(&"dotprod");
    let right = kernel.engine().name() == engine && (kernel.engine() == Engine::Dotprod) == dotprod;
    right.then_some(()).ok_or_else(|| format!("needs {:?}", kernel.engine()))
}

#[test]
fn names_follow_the_grammar() {
    let wrong: Vec<String> = all_kernels()
        .filter_map(|kernel| check(kernel).err().map(|why| format!("{}: {why}", kernel.name())))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn names_are_unique() {
    let names: HashSet<&str> = all_kernels().map(|kernel| kernel.name()).collect();
    assert_eq!(names.len(), all_kernels().count());
}

#[test]
fn every_family_is_listed() {
    for op in ["bsconv", "mulconv", "winconv", "lutconv", "dwconv", "requantize"] {
        let portable = |kernel: &&dyn MicroKernel| kernel.op() == op && kernel.engine() == Engine::Generic;
        assert!(all_kernels().any(|kernel| portable(&kernel)), "no portable {op}");
    }
}

/// A requantization micro-kernel is found by its form and its engine, and there is portable code for every form.
#[test]
fn forms_are_those_of_the_names() {
    let kernels = || registry::kernels::<RequantizeKernel>();
    for kernel in kernels() {
        let name = format!("requantize_u8_i32_{}_{}", kernel.form, kernel.engine.name());
        assert_eq!(kernel.name, name);
        let portable =
            |other: &RequantizeKernel| other.form == kernel.form && other.engine == Engine::Generic;
        assert!(kernels().any(portable), "no portable code for {}", kernel.form);
    }
}
