//! Files that are not what a configuration should be: pipes, halves, and what hangs when it is read.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::process::{Process, config};
use crate::wire::*;
use crate::{KEYS, simulator};

const SERVER: &str = "drain_delay_s: 0, drain_timeout_s: 5";

async fn rejected(process: &Process, about: &str) {
    until(about, || async {
        let last = process.status().await["last_reload"].clone();
        last["outcome"] == "rejected" && last["problems"][0].as_str().unwrap().contains(about)
    })
    .await;
    assert_eq!(ask(process.data, "traffic goes on", false).await.end().await.status(), 200);
}

/// Puts a pipe in the place of a file, at one stroke: nobody sees that there is neither.
fn make_fifo(path: &std::path::Path) {
    let made = path.with_extension("pipe");
    assert!(Command::new("mkfifo").arg(&made).status().unwrap().success());
    std::fs::rename(made, path).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_from_a_pipe_serves_and_a_reload_says_that_it_cannot_be_read_again() {
    let simulator = simulator().await;
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(config(&simulator.url(), &KEYS, SERVER).as_bytes()).unwrap();
    drop(writer);
    let mut command = Command::new(env!("CARGO_BIN_EXE_headgate"));
    command.args(["serve", "--config", "/dev/stdin"]).stdin(Stdio::from(reader));
    let process = Process::run(command, tempfile::tempdir().unwrap()).await;
    assert_eq!(ask(process.data, "served", false).await.end().await.status(), 200);
    assert_eq!(process.status().await["last_reload"], serde_json::Value::Null, "it did not change");
    process.signal("HUP");
    rejected(&process, "/dev/stdin: is not a file that can be read again").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_whose_end_is_missing_does_not_switch_everything_off() {
    let simulator = simulator().await;
    let yaml = config(&simulator.url(), &KEYS, SERVER);
    let process = Process::start(&yaml).await;
    let (beginning, _) = yaml.split_once("backends:").unwrap();
    process.publish("1", beginning);
    rejected(&process, "no keys are left").await;
    process.publish("2", "# nothing but a remark\n");
    rejected(&process, "no keys are left").await;
    process.publish("3", &format!("{beginning}backends:\n- name: a\n  provider: anthropic\n  keys:\n"));
    rejected(&process, "no keys are left").await;
    process.publish("4", &format!("{beginning}backends: []\n"));
    until("the pool that was meant to be empty", || async { process.generation().await == 2 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mark_of_the_byte_order_is_no_part_of_an_option() {
    let simulator = simulator().await;
    let yaml = format!("\u{feff}{}", config(&simulator.url(), &KEYS, SERVER));
    let process = Process::start(&yaml).await;
    assert_eq!(ask(process.data, "served", false).await.end().await.status(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipe_in_the_place_of_the_file_hangs_no_reload() {
    let simulator = simulator().await;
    let yaml = config(&simulator.url(), &KEYS, SERVER);
    let process = Process::start(&yaml).await;
    let file = process.folder.path().join("..data/headgate.yaml");
    make_fifo(&file);
    rejected(&process, "is not a file that can be read again").await;
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, format!("{yaml}# again\n")).unwrap();
    until("the file again", || async { process.generation().await == 2 }).await;
}

/// As a mount whose server is gone: whoever opens the pipe waits for its other end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_that_hangs_keeps_the_process_from_nothing() {
    let simulator = simulator().await;
    let secrets = tempfile::tempdir().unwrap();
    let secret = secrets.path().join("key");
    std::fs::write(&secret, "sk-ant-api03-sim-org-a-1").unwrap();
    let file = format!("'file:{}'", secret.display());
    let yaml =
        config(&simulator.url(), &["org-a-1"], SERVER).replacen("'value:sk-ant-api03-sim-org-a-1'", &file, 1);
    let mut process = Process::start(&yaml).await;
    make_fifo(&secret);
    process.signal("HUP");
    // Opening one end of a pipe waits for the other: here is the reader.
    let (open, opened) = std::sync::mpsc::channel();
    std::thread::spawn(move || open.send(std::fs::OpenOptions::new().write(true).open(secret)));
    let _held = opened.recv_timeout(DEADLINE).unwrap().unwrap();
    assert_eq!(ask(process.data, "served meanwhile", false).await.end().await.status(), 200);
    process.signal("TERM");
    let (status, after) = process.ended().await;
    assert_eq!(status.code(), Some(0));
    assert!(after < Duration::from_secs(5), "{after:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_somebody_has_is_named() {
    let simulator = simulator().await;
    let process = Process::start(&config(&simulator.url(), &KEYS, SERVER)).await;
    for (option, taken) in [("listen", process.data), ("admin_listen", process.admin)] {
        let server = format!("HEADGATE__SERVER__{}", option.to_uppercase());
        let second = Command::new(env!("CARGO_BIN_EXE_headgate"))
            .current_dir(process.folder.path())
            .args(["serve", "--config", "headgate.yaml"])
            .env(server, taken.to_string())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&second.stderr);
        assert_eq!(second.status.code(), Some(1));
        assert!(said.contains(&format!("headgate: server.{option}: {taken} cannot be bound: ")), "{said}");
    }
}
