//! Reload: by file, by signal, by the admin API; accepted, rejected, and under load.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

use crate::process::{Process, config};
use crate::wire::*;
use crate::{KEYS, simulator};

async fn keys(process: &Process) -> Vec<String> {
    let answer = process.admin("GET", "/admin/v1/keys", "").await.json();
    let keys = answer["data"].as_array().unwrap().iter();
    keys.map(|key| key["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configmap_swap_is_seen_twice_and_a_rejected_one_is_visible_and_harmless() {
    let simulator = simulator().await;
    let yaml = |keys: &[&str]| config(&simulator.url(), keys, "drain_delay_s: 0, drain_timeout_s: 5");
    let process = Process::start(&yaml(&["org-a-1"])).await;
    process.publish("1", &yaml(&["org-a-1", "org-b-1"]));
    until("the first swap", || async { keys(&process).await.len() == 2 }).await;
    process.publish("2", &yaml(&["org-c-1"]));
    until("the second swap", || async { keys(&process).await == ["org-c-1"] }).await;

    process.publish(
        "3",
        &format!("{}relai: {{ max_wait_ms: 1 }}\nqueue: {{ max_waiting: -1 }}\n", yaml(&["org-a-1"])),
    );
    until("the rejection", || async { process.status().await["last_reload"]["outcome"] == "rejected" }).await;
    let status = process.status().await;
    assert_eq!(status["config_generation"], 3);
    let problems = status["last_reload"]["problems"].as_array().unwrap();
    let named = |option: &str| problems.iter().any(|problem| problem.as_str().unwrap().starts_with(option));
    assert!(named("relai") && named("queue.max_waiting"), "all of them: {problems:?}");
    assert!(
        process.said("configuration rejected, the last good one stays in force").unwrap()["level"] == "ERROR"
    );
    let metrics = send(process.admin, "GET", "/metrics", &[], "").await.text;
    assert!(metrics.contains("headgate_reloads_total{outcome=\"rejected\"} 1"), "{metrics}");
    assert!(metrics.contains("headgate_config_generation 3"));
    assert_eq!(ask(process.data, "traffic goes on", false).await.end().await.status(), 200);

    process.publish("4", &yaml(&["org-a-1"]).replacen("workers: 2", "workers: 3", 1));
    until("the mended one", || async { process.generation().await == 4 }).await;
    assert_eq!(process.status().await["needs_restart"], serde_json::json!(["server.workers"]));
    std::fs::write(process.folder.path().join("noise"), "").unwrap();
    std::fs::write(process.folder.path().join("..data/headgate.yaml"), "").unwrap();
    until("an emptied file", || async { process.status().await["last_reload"]["outcome"] == "rejected" })
        .await;
    assert_eq!(process.generation().await, 4, "noise beside the file reloads nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_in_a_file_of_its_own_is_watched_and_never_shown() {
    let simulator = simulator().await;
    let secrets = tempfile::tempdir().unwrap();
    let secret = secrets.path().join("key");
    std::fs::write(&secret, "sk-ant-api03-sim-wrong-secret").unwrap();
    let file = format!("'file:{}'", secret.display());
    let yaml =
        config(&simulator.url(), &["org-a-1"], "").replacen("'value:sk-ant-api03-sim-org-a-1'", &file, 1)
            + "relay: { max_wait_ms: 0 }\n";
    let process = Process::start(&yaml).await;
    let refused = ask(process.data, "refused", false).await.end().await;
    assert_eq!(refused.status(), 503, "{refused:?}");
    let shown = process.admin("GET", "/admin/v1/keys/org-a-1", "").await;
    assert_eq!(shown.json()["state"], "parked", "{refused:?} {shown:?}");
    std::fs::write(&secret, "sk-ant-api03-sim-org-a-1\n").unwrap();
    until("the rotation", || async { process.generation().await == 2 }).await;
    let rotated = process.admin("GET", "/admin/v1/keys/org-a-1", "").await.json();
    assert_eq!((rotated["state"].as_str(), rotated["parks"].as_array().unwrap().len()), (Some("ready"), 0));
    assert_eq!(ask(process.data, "served", false).await.end().await.status(), 200);
    for path in ["/admin/v1/status", "/admin/v1/keys", "/admin/v1/groups", "/admin/v1/backends", "/metrics"] {
        let text = process.admin("GET", path, "").await.text;
        assert!(!text.contains("sk-ant") && !text.contains(crate::process::TOKEN), "{text}");
    }
    let log = format!("{:?}", process.log.lock().unwrap());
    assert!(!log.contains("sk-ant") && !log.contains(crate::process::TOKEN), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_reloads_under_load_fail_no_request() {
    let simulator = simulator().await;
    let process = Arc::new(Process::start(&config(&simulator.url(), &KEYS, "")).await);
    let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let callers: Vec<_> = (0..8)
        .map(|number| {
            let (stop, served, at) = (stop.clone(), served.clone(), process.data);
            tokio::spawn(async move {
                while !stop.load(Relaxed) {
                    let wire = ask(at, "[[sim:events=3,pace_ms=2]]", number % 2 == 0).await.end().await;
                    assert_eq!(wire.status(), 200, "{wire:?}");
                    assert!(!wire.text.contains("event: error"), "{wire:?}");
                    assert!(number % 2 == 1 || wire.text.contains("event: message_stop"), "{wire:?}");
                    served.fetch_add(1, Relaxed);
                }
            })
        })
        .collect();
    for number in 0..50 {
        // Another key comes and goes, so that every reload changes the table.
        let keys = if number % 2 == 0 { &KEYS[1..] } else { &KEYS[..] };
        let before = process.generation().await;
        process.publish(&format!("v{number}"), &config(&simulator.url(), keys, ""));
        assert_eq!(process.admin("POST", "/admin/v1/reload", "").await.json()["outcome"], "applied");
        until("the change is seen too", || async { process.generation().await >= before + 2 }).await;
    }
    process.signal("HUP");
    until("the signal", || async { process.status().await["last_reload"]["trigger"] == "signal" }).await;
    stop.store(true, Relaxed);
    for caller in callers {
        caller.await.unwrap();
    }
    assert!(process.generation().await >= 101, "{}", process.generation().await);
    assert!(served.load(Relaxed) > 100, "{} requests", served.load(Relaxed));
    assert_eq!(process.status().await["in_flight"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_simulated_upstream_outlives_a_reload() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_headgate"));
    command.args(["serve", "--simulate"]).env_clear();
    command
        .env("HEADGATE__SERVER__LISTEN", "127.0.0.1:0")
        .env("HEADGATE__SERVER__ADMIN_LISTEN", "127.0.0.1:0");
    let process = Process::run(command, tempfile::tempdir().unwrap()).await;
    process.signal("HUP");
    until("the reload", || async { process.said("configuration reloaded").is_some() }).await;
    assert_eq!(ask(process.data, "hi", false).await.end().await.status(), 200);
}
