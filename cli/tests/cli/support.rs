//! A fresh folder for each test, and the binary run in it.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use image::{Rgb, RgbImage};

/// A folder that is empty when a test begins.
pub struct Folder(PathBuf);

/// What a run of the binary left behind.
pub struct Finished {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Folder {
    /// A folder of its own for the test of that name.
    pub fn new(test: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file, with the folders it lies in.
    pub fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, contents).unwrap();
        path
    }

    /// Saves a picture in the format of its name.
    pub fn save(&self, name: &str, picture: &RgbImage) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        picture.save(&path).unwrap();
        path
    }

    /// The binary, to be run in this folder.
    pub fn command<A: AsRef<OsStr>>(&self, args: &[A]) -> Command {
        let mut command = binary();
        command.args(args).current_dir(&self.0).env_remove("YLB_KERNELS").env_remove("RUST_BACKTRACE");
        command.stdin(Stdio::null());
        command
    }

    /// Runs the binary in this folder.
    pub fn run(&self, args: &[&str]) -> Finished {
        Finished::from(self.command(args).output().unwrap())
    }
}

/// The binary under test; through the emulator that runs the tests, if one does.
fn binary() -> Command {
    let binary = env!("CARGO_BIN_EXE_yolo-lowbit");
    let runner = format!("CARGO_TARGET_{}_UNKNOWN_LINUX_GNU_RUNNER", env::consts::ARCH.to_uppercase());
    let runner = env::var(runner).unwrap_or_default();
    let mut words = runner.split_whitespace().chain([binary]);
    let mut command = Command::new(words.next().unwrap());
    command.args(words);
    command
}

impl From<Output> for Finished {
    fn from(output: Output) -> Self {
        Self {
            status: output.status.code().expect("the binary was killed by a signal"),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Finished {
    /// The standard output of a run that did all it should.
    #[track_caller]
    pub fn done(self) -> String {
        assert_eq!(self.status, 0, "{}", self.stderr);
        self.stdout
    }

    /// The error of a run that failed: one line, without anything on standard output.
    #[track_caller]
    pub fn failed(self, status: i32) -> String {
        assert_eq!((self.status, self.stdout.as_str()), (status, ""), "{}", self.stderr);
        let error = self.stderr.strip_prefix("yolo-lowbit: error: ").expect(&self.stderr).trim_end();
        assert!(!error.contains('\n'), "more than one line: {error}");
        error.to_owned()
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(self) -> serde_json::Value {
        assert_eq!(self.status, 0, "{}", self.stderr);
        serde_json::from_str(&self.stdout).expect(&self.stdout)
    }
}

/// Asserts that a message says all of these things.
#[track_caller]
pub fn assert_says(message: &str, things: &[&str]) {
    for thing in things {
        assert!(message.contains(thing), "{message:?} does not say {thing:?}");
    }
}

/// A black picture with squares of 8 pixels, given by left, top and colour.
pub fn squares(width: u32, height: u32, squares: &[(u32, u32, [u8; 3])]) -> RgbImage {
    let mut picture = RgbImage::new(width, height);
    for &(left, top, colour) in squares {
        for (x, y) in (0..64).map(|index| (left + index % 8, top + index / 8)) {
            picture.put_pixel(x, y, Rgb(colour));
        }
    }
    picture
}

/// The real exports beside the checkout. `None`, with a message, where there are none.
pub fn exports() -> Option<PathBuf> {
    shared("cases")
}

/// A folder of the reference material beside the checkout. `None`, with a message, where there is none.
pub fn shared(name: &str) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared").join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    assert!(env::var("CI").as_deref() != Ok("true"), "{} is missing", folder.display());
    eprintln!("SKIPPED: {} is missing", folder.display());
    None
}
