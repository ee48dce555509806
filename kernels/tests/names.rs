//! Every registered name follows the grammar `<op>_<dst>_<act>_<wgt>_<tile>_<engine>[_<tech>][_<tuning>]`.

use std::collections::HashSet;

use ylb_kernels::registry::{CONV_KERNELS, LOOKUP_KERNELS, WINOGRAD_KERNELS};
use ylb_kernels::ukernel::Engine;

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
    known.then_some(()).ok_or_else(|| format!("{part:?} is no operand"))
}

/// What a micro-kernel is, and so must be called.
struct Entry {
    name: &'static str,
    ops: &'static [&'static str],
    mr: usize,
    nr: usize,
    engine: Engine,
}

fn entries() -> Vec<Entry> {
    let convs = CONV_KERNELS.iter().map(|kernel| Entry {
        name: kernel.name,
        ops: if kernel.bit_serial { &["bsconv"] } else { &["mulconv"] },
        mr: kernel.mr,
        nr: kernel.nr,
        engine: kernel.engine,
    });
    let winograd = WINOGRAD_KERNELS.iter().map(|kernel| Entry {
        name: kernel.name,
        ops: &["winconv"],
        mr: 4,
        nr: ylb_kernels::winograd::OUTPUTS,
        engine: kernel.engine,
    });
    let lookup = LOOKUP_KERNELS.iter().map(|kernel| Entry {
        name: kernel.name,
        ops: &["lutconv"],
        mr: kernel.mr,
        nr: ylb_kernels::lookup::OUTPUTS,
        engine: kernel.engine,
    });
    convs.chain(winograd).chain(lookup).collect()
}

fn check(kernel: &Entry) -> Result<(), String> {
    let mut parts = kernel.name.split('_');
    one_of(&mut parts, kernel.ops)?;
    one_of(&mut parts, &["i32"])?;
    operand(&mut parts)?;
    operand(&mut parts)?;
    let tile = format!("{}x{}", kernel.mr, kernel.nr);
    one_of(&mut parts, &[&tile])?;
    let engine = one_of(&mut parts, &["generic", "neon", "avx2", "avx512", "amx"])?;
    let rest: Vec<&str> = parts.collect();
    let (techs, tunings): (&[&str], &[&str]) = match engine {
        "generic" => (&[], &[]),
        "neon" => (&["cnt", "tbl", "mlal", "mull", "padal", "dotprod", "i8mm"], &["a53", "a72", "a76"]),
        "avx512" => (&["cnt", "vnni"], &[]),
        "amx" => (&[], &[]),
        _ => (&["cnt", "tbl", "madd", "maddubs"], &[]),
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
    let expected = match (engine, rest.first()) {
        ("generic", _) => Engine::Generic,
        ("neon", Some(&"dotprod")) => Engine::Dotprod,
        ("neon", _) => Engine::Neon,
        ("avx512", _) => Engine::Avx512,
        ("amx", _) => Engine::Amx,
        _ => Engine::Avx2,
    };
    (kernel.engine == expected).then_some(()).ok_or_else(|| format!("needs {:?}", kernel.engine))
}

#[test]
fn names_follow_the_grammar() {
    let wrong: Vec<String> = entries()
        .iter()
        .filter_map(|kernel| check(kernel).err().map(|why| format!("{}: {why}", kernel.name)))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn names_are_unique() {
    let names: HashSet<&str> = entries().iter().map(|kernel| kernel.name).collect();
    assert_eq!(names.len(), entries().len());
}
