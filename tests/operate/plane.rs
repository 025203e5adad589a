//! An admin API that says what it is told to and remembers what it was asked; and the program asking it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::Value;

/// The token of every test.
pub const TOKEN: &str = "hga_canary-token";

/// What was asked.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// Method and target in one.
    pub fn line(&self) -> String {
        format!("{} {}", self.method, self.target)
    }
}

/// One answer, as bytes on the wire; none breaks the connection off.
pub type Scene = String;

/// A JSON answer.
pub fn json(status: u16, body: &str) -> Scene {
    typed(status, "application/json", body)
}

/// A problem.
pub fn problem(status: u16, body: &str) -> Scene {
    typed(status, "application/problem+json", body)
}

/// Any answer.
pub fn typed(status: u16, media: &str, body: &str) -> Scene {
    format!(
        "HTTP/1.1 {status} X\r\ncontent-type: {media}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// The scripted admin API.
pub struct Plane {
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Plane {
    /// Plays the scenes in their order, then closes its door.
    pub fn playing(scenes: impl IntoIterator<Item = Scene>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let (book, scenes) = (asked.clone(), scenes.into_iter().collect::<Vec<_>>());
        std::thread::spawn(move || {
            for scene in scenes {
                let (stream, _) = listener.accept().unwrap();
                let question = question(&stream);
                book.lock().unwrap().push(question);
                // A program that has read enough may be gone.
                drop((&stream).write_all(scene.as_bytes()));
            }
        });
        Self { address, asked }
    }

    /// Everything asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// The one question.
    pub fn only(&self) -> Asked {
        let asked = self.asked();
        assert_eq!(asked.len(), 1, "{asked:?}");
        asked.into_iter().next().unwrap()
    }

    /// The program with this gateway and a token.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program(arguments);
        command.env("HEADGATE_ADMIN_URL", format!("http://{}", self.address));
        command.env("HEADGATE_ADMIN_TOKEN", format!("{TOKEN}\n"));
        command
    }

    /// Runs the program to its end.
    pub fn run(&self, arguments: &[&str]) -> Told {
        Told::of(&self.command(arguments).output().unwrap())
    }

    /// Runs the program with `input` on its standard input.
    pub fn run_with(&self, arguments: &[&str], input: &str) -> Told {
        let mut child: Child = self.command(arguments).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        Told::of(&child.wait_with_output().unwrap())
    }
}

/// The program without anything of the environment.
pub fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_headgate"));
    command.args(arguments).env_clear();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// What a run came to.
#[derive(Debug)]
pub struct Told {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Told {
    pub fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let told = Self {
            code: output.status.code().unwrap(),
            out: text(&output.stdout),
            err: text(&output.stderr),
        };
        assert!(!told.out.contains(TOKEN) && !told.err.contains(TOKEN), "the token was shown: {told:?}");
        told
    }

    /// The words of each line of the output.
    pub fn rows(&self) -> Vec<Vec<&str>> {
        self.out.lines().map(|line| line.split_whitespace().collect()).collect()
    }
}

fn question(stream: &TcpStream) -> Asked {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, target) = (words.next().unwrap(), words.next().unwrap());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let Some((name, value)) = line.trim().split_once(": ") else { break };
        headers.push((name.to_owned(), value.to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length: usize = length.map_or(0, |(_, value)| value.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    Asked { method, target, headers, body: String::from_utf8(body).unwrap() }
}
