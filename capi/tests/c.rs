//! C and C++ programs against the header and both libraries, compiled as users would.
//!
//! On an emulated ARM the cross compiler makes ARM programs, which run under the same emulator as
//! this test.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use ylb_format::model::{MapPart, Model, Output as ModelOutput, OutputKind};

/// How a program is linked with the library.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Link {
    Static,
    Dynamic,
}

fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn model() -> PathBuf {
    folder().join("../models/cells-w2a2.ylb")
}

/// The folder where cargo put this test and the libraries.
fn libraries() -> PathBuf {
    let test = std::env::current_exe().expect("this program's path");
    test.parent().expect("a folder").to_owned()
}

/// The newest file of that form: cargo leaves older ones beside it.
fn library(prefix: &str, extension: &str) -> Option<PathBuf> {
    let files = std::fs::read_dir(libraries()).expect("cargo's folder").flatten().map(|entry| entry.path());
    let named = |path: &PathBuf| {
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with(prefix) && path.extension().is_some_and(|found| found == extension)
    };
    files.filter(named).max_by_key(|path| path.metadata().and_then(|data| data.modified()).ok())
}

fn compiler(cpp: bool) -> Command {
    if cfg!(target_arch = "aarch64") && emulated() {
        return Command::new(if cpp { "aarch64-linux-gnu-g++" } else { "aarch64-linux-gnu-gcc" });
    }
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let mut build = cc::Build::new();
    build.cpp(cpp).target(&triple).host(&triple).opt_level(1).cargo_metadata(false);
    build.get_compiler().to_command()
}

/// Whether this is an ARM program on a computer of another kind.
fn emulated() -> bool {
    let machine = Command::new("uname").arg("-m").output();
    machine.is_ok_and(|output| !output.stdout.starts_with(b"aarch64"))
}

/// Compiles `source` of this crate's folder; the path of the program.
fn compile(source: &str, link: Link, options: &[&str]) -> PathBuf {
    let source = folder().join(source);
    let cpp = source.extension().is_some_and(|extension| extension == "cpp");
    let name = format!("{}-{link:?}{}", source.file_stem().expect("a name").display(), options.join(""));
    let program = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let mut command = compiler(cpp);
    command.args(["-Wall", "-Wextra", "-Werror", if cpp { "-std=c++17" } else { "-std=gnu99" }]);
    command.args(options).arg("-o").arg(&program).arg(&source).arg("-I").arg(folder().join("include"));
    match link {
        Link::Static => {
            command.arg(library("libyolo_lowbit", "a").expect("the static library"));
            command.args(["-lpthread", "-lm", "-static-libgcc"]);
        }
        Link::Dynamic => {
            let library = library("libyolo_lowbit", "so").expect("the shared library");
            // Found under the name that it gives itself, beside the program.
            let soname = concat!(
                "libyolo_lowbit.so.",
                env!("CARGO_PKG_VERSION_MAJOR"),
                ".",
                env!("CARGO_PKG_VERSION_MINOR")
            );
            std::fs::copy(&library, program.with_file_name(soname)).expect("a copy of the library");
            command.arg(&library).args(["-lpthread", "-lm", "-Wl,-rpath,$ORIGIN"]);
        }
    }
    let output = command.output().expect("a C compiler; on Debian: apt install gcc g++");
    assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
    program
}

fn run(program: &Path, arguments: &[&Path]) -> Output {
    let mut command = if cfg!(target_arch = "aarch64") && emulated() {
        // The cross compiler's C library: an ARM one of the system's own need not be there.
        let mut emulator = Command::new("qemu-aarch64");
        emulator.args(["-L", "/usr/aarch64-linux-gnu"]).arg(program);
        emulator
    } else {
        Command::new(program)
    };
    command.args(arguments).output().expect("a program that starts")
}

/// Standard output of a program that must succeed.
fn output_of(program: &Path, arguments: &[&Path]) -> String {
    let output = run(program, arguments);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {}\n{text}{errors}", program.display(), output.status);
    text
}

/// The sample picture as PPM.
fn sample() -> PathBuf {
    let picture = image::open(folder().join("../models/sample.jpg")).expect("the sample picture").to_rgb8();
    let mut file = format!("P6\n{} {}\n255\n", picture.width(), picture.height()).into_bytes();
    file.extend_from_slice(picture.as_raw());
    // Each test writes its own: they run side by side.
    let name = format!("sample-{:?}.ppm", std::thread::current().id());
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, file).expect("a temporary file");
    path
}

/// What examples/detect.c must print for the sample picture, by the runtime.
fn expected() -> String {
    use std::fmt::Write;
    let network = ylb_runtime::Network::open(&model()).expect("the bundled model");
    let mut session = ylb_runtime::Session::new(network.into(), Default::default()).expect("threads");
    let pixels = image::open(folder().join("../models/sample.jpg")).expect("the sample picture").to_rgb8();
    let (width, height) = (pixels.width() as usize, pixels.height() as usize);
    let rgb = ylb_runtime::PixelFormat::Rgb;
    let picture = ylb_runtime::Picture::new(pixels.as_raw(), width, height, rgb).expect("a picture");
    let names = session.network().model().metadata.class_names.clone();
    let mut text = String::new();
    for found in session.detect(&picture, &Default::default()).expect("a frame") {
        let ylb_runtime::Detection { class, confidence, left, top, right, bottom } = found;
        let name = &names[*class as usize];
        writeln!(text, "{name} {confidence:.2}: {left:.1} {top:.1} {right:.1} {bottom:.1}").expect("text");
    }
    assert!(text.lines().count() > 5, "{text}");
    text
}

/// The bundled model, changed, as a file.
fn changed_model(name: &str, change: impl FnOnce(&mut Model)) -> PathBuf {
    let bytes = std::fs::read(model()).expect("the bundled model");
    let mut model = ylb_format::read(&bytes).expect("a model");
    change(&mut model);
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, ylb_format::write(&model).expect("a model")).expect("a temporary file");
    path
}

/// Runs a program that says whether all is as it should be. It says nothing on standard error.
fn assert_as_promised(program: &Path, arguments: &[&Path]) {
    let output = run(program, arguments);
    let [text, errors] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    let said = format!("{}: {}\n{text}{errors}", program.display(), output.status);
    assert!(output.status.success() && text == "all as promised\n" && errors.is_empty(), "{said}");
}

#[test]
fn the_header_keeps_its_promises() {
    for source in ["tests/c/contract.c", "tests/c/frames.c"] {
        assert_as_promised(&compile(source, Link::Static, &[]), &[&model()]);
    }
}

#[test]
#[cfg_attr(target_arch = "aarch64", ignore = "sanitizers do not run under QEMU")]
fn the_address_sanitizer_agrees() {
    for source in ["tests/c/contract.c", "tests/c/frames.c"] {
        let program = compile(source, Link::Static, &["-fsanitize=address,undefined"]);
        assert_as_promised(&program, &[&model()]);
    }
}

#[test]
#[cfg_attr(
    target_arch = "aarch64",
    ignore = "takes minutes under QEMU; tests/tests/no_allocation.rs counts there"
)]
fn frames_allocate_nothing() {
    let wrapped = ["malloc", "calloc", "realloc", "aligned_alloc", "posix_memalign"];
    let options = wrapped.map(|name| format!("-Wl,--wrap={name}"));
    let program = compile("tests/c/allocation.c", Link::Static, &options.each_ref().map(String::as_str));
    assert_as_promised(&program, &[&model()]);
}

#[test]
#[cfg_attr(target_arch = "aarch64", ignore = "QEMU does not limit a program's memory")]
fn every_status_that_can_be_provoked_is_what_the_header_says() {
    let without_anchors = changed_model("no-anchors.ylb", |model| {
        model.detect.maps.iter_mut().for_each(|map| map.anchors.clear());
        model.outputs =
            vec![ModelOutput { name: "head".to_owned(), kind: OutputKind::Head(MapPart::whole(0)) }];
    });
    let without_head = changed_model("no-head.ylb", |model| {
        model.detect.maps.clear();
        model.outputs.clear();
    });
    let program = compile("tests/c/statuses.c", Link::Static, &[]);
    assert_as_promised(&program, &[&model(), &without_anchors, &without_head]);
}

#[test]
#[cfg_attr(target_arch = "aarch64", ignore = "a fork of QEMU has none of its threads either")]
fn forked_children_are_told_and_do_not_wait() {
    assert_as_promised(&compile("tests/c/fork.c", Link::Static, &[]), &[&model()]);
}

#[test]
fn a_thread_may_call_until_its_end() {
    let program = compile("tests/c/thread_end.c", Link::Static, &["-ldl"]);
    assert_as_promised(&program, &[&model()]);
    #[cfg(not(target_arch = "aarch64"))]
    assert_as_promised(&program, &[&model(), &library("libyolo_lowbit", "so").expect("the shared library")]);
}

#[test]
#[cfg_attr(target_arch = "aarch64", ignore = "the tests are linked statically there: no shared library")]
fn the_shared_library_is_the_same() {
    for source in ["tests/c/contract.c", "tests/c/frames.c"] {
        assert_as_promised(&compile(source, Link::Dynamic, &[]), &[&model()]);
    }
    let program = compile("examples/detect.c", Link::Dynamic, &[]);
    assert_eq!(output_of(&program, &[&model(), &sample()]), expected());
}

#[test]
fn examples_find_what_the_runtime_finds() {
    let sample = sample();
    for source in ["examples/detect.c", "examples/detect.cpp"] {
        let program = compile(source, Link::Static, &[]);
        assert_eq!(output_of(&program, &[&model(), &sample]), expected(), "{source}");
        // Errors are one line that names the file.
        let failed = run(&program, &[Path::new("missing.ylb"), &sample]);
        let text = String::from_utf8_lossy(&failed.stderr).into_owned();
        assert!(
            !failed.status.success() && text.lines().count() == 1 && text.contains("missing.ylb"),
            "{text}"
        );
    }
}

#[test]
fn the_camera_example_compiles_and_says_what_is_missing() {
    let program = compile("examples/camera.c", Link::Static, &[]);
    let failed = run(&program, &[&model(), Path::new("/dev/no-camera")]);
    let text = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert!(!failed.status.success() && text.contains("/dev/no-camera"), "{text}");
}

#[test]
fn a_static_program_needs_libc_libm_and_libpthread_only() {
    let program = compile("tests/c/contract.c", Link::Static, &["-O1"]);
    let output = Command::new("readelf").arg("-d").arg(&program).output().expect("readelf, of binutils");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let needed: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("(NEEDED)"))
        .filter_map(|line| line.split_once('[').map(|(_, name)| name.trim_end_matches(']')))
        .collect();
    assert!(needed.iter().any(|name| name.starts_with("libc.so")), "{text}");
    let allowed = ["libc.so", "libm.so", "libpthread.so", "ld-linux"];
    for name in needed {
        assert!(allowed.iter().any(|prefix| name.starts_with(prefix)), "{name} in\n{text}");
    }
}
