//! Looks whether anything is wrong, and has a program of the user pass that on.

use std::collections::VecDeque;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use serde::Serialize;
use stash_api::node::{PeerState, Status};
use stash_vault::Place;
use stash_vault::server::MemberView;
use tokio_util::sync::CancellationToken;

use super::node;
use crate::config::NotifySettings;
use crate::daemon::Daemon;
use crate::daemon::notices::{Due, Look, Matter, Notices, Patience};
use crate::output::{short, visible};
use crate::zone::local;

/// Between two looks, at most; less where somebody is to be told sooner.
const LOOK: Duration = Duration::from_secs(60);

/// After this time without a change, the notes are written down all the same: so much is counted once more after a crash.
const WRITE: Duration = Duration::from_secs(10 * 60);

/// Time that the program may take. It is ended then, with all that it started.
const DEADLINE: Duration = Duration::from_secs(60);

/// Between two looks whether the program has ended.
const POLL: Duration = Duration::from_millis(50);

/// Pauses before the program is asked again that did not take a notice.
const AGAIN: [Duration; 3] =
    [Duration::from_secs(60), Duration::from_secs(600), Duration::from_secs(3_600)];

/// Notices that wait for the program; beyond, the oldest is dropped.
const WAITING: usize = 64;

/// A notice as the program gets it, on stdin.
#[derive(Clone, Debug, Serialize)]
struct Notice {
    /// `begins` or `over`.
    notice: &'static str,
    /// `damage`, `copies` or `absent`.
    about: &'static str,
    /// The same as a sentence.
    text: String,
    stash_id: String,
    node_id: String,
    name: Option<String>,
    /// The member that is or was away.
    member: Option<PeerState>,
    /// As `stash status` says.
    safety: Option<String>,
    alarms: Vec<String>,
}

/// A notice on its way.
struct Outgoing {
    notice: Notice,
    tries: usize,
    not_before: Instant,
}

/// Looks again and again, until the daemon stops.
pub(crate) async fn follow(daemon: Arc<Daemon>) {
    let mut notices: Option<Notices> = None;
    let mut waiting: VecDeque<Outgoing> = VecDeque::new();
    let (mut looked, mut wrote) = (Instant::now(), Instant::now());
    loop {
        let settings = daemon.notify();
        let pause = pause(&settings);
        if tokio::time::timeout(pause, daemon.stop.cancelled()).await.is_ok() {
            return;
        }
        let passed = looked.elapsed().min(2 * pause);
        looked = Instant::now();
        if settings.command.value.is_empty() {
            (notices, waiting) = (None, VecDeque::new());
            continue;
        }
        if let Some((status, looks)) = look(&daemon, pause).await {
            let directory = daemon.settings.data_dir.value.clone();
            let mut now = match notices.take() {
                Some(notices) => notices,
                None => {
                    let directory = directory.clone();
                    tokio::task::spawn_blocking(move || Notices::read(&directory))
                        .await
                        .unwrap_or_default()
                }
            };
            let patience = Patience {
                grace: settings.grace.value.0.as_secs(),
                absent: settings.absent.value.0.as_secs(),
            };
            let due = now.look(passed.as_secs(), looks, patience);
            if !due.is_empty() || wrote.elapsed() >= WRITE {
                wrote = Instant::now();
                now = written(now, directory).await;
            }
            notices = Some(now);
            let not_before = Instant::now();
            let outgoing = due.iter().map(|due| notice(due, &status));
            waiting.extend(outgoing.map(|notice| Outgoing { notice, tries: 0, not_before }));
        }
        pass_on(&daemon, &settings, &mut waiting).await;
    }
}

/// A quarter of the time after which somebody is told first.
fn pause(settings: &NotifySettings) -> Duration {
    let first = settings.grace.value.0.min(settings.absent.value.0);
    LOOK.min(first / 4).max(Duration::from_secs(1))
}

/// Notes what is told before it is told: should this process end in between, nobody hears of it, rather than twice.
async fn written(notices: Notices, directory: std::path::PathBuf) -> Notices {
    let write = move || {
        if let Err(error) = notices.write(&directory) {
            tracing::warn!(%error, "what is told is not written down: it may be told again after a restart");
        }
        notices
    };
    tokio::task::spawn_blocking(write).await.unwrap_or_default()
}

/// The state of the node, and a look at every matter. `None` while no node is served.
async fn look(daemon: &Daemon, pause: Duration) -> Option<(Status, Vec<Look>)> {
    let served = daemon.served().ok()?;
    served.notices.begins();
    let status = match node::state(&served).await {
        Ok(status) => status,
        Err(problem) => {
            tracing::warn!(error = %problem.message, "whether anything is wrong is not known");
            return None;
        }
    };
    let damage =
        Look { matter: Matter::Damage, is_bad: status.is_damaged(), counts: true, mark: 0 };
    let verdict = status.safety.as_ref().map(|safety| safety.verdict.as_str());
    // Somebody who has no other member yet knows that, and is told at each put. That this node was removed is an alarm.
    let is_bad = !matches!(verdict, Some("safe" | "alone" | "removed") | None);
    let copies = Look { matter: Matter::Copies, is_bad, counts: true, mark: 0 };
    let members = served.node.engine.members();
    let meets_anybody = members.iter().any(|member| member.connected && !member.this);
    let others = members.iter().filter(|member| !member.this && !member.lapsed);
    let absent = others.map(|member| Look {
        matter: Matter::Absent(member.node.to_string()),
        is_bad: !member.connected,
        counts: meets_anybody || has_way_to(member),
        mark: if member.connected { 0 } else { member.seen.unwrap_or(0) },
    });
    let looks = [damage, copies].into_iter().chain(absent).collect();
    served.notices.ends(Some(pause));
    Some((status, looks))
}

/// An address of no machine, to which there is a way if there is one out of the house (RFC 5737).
const OUTSIDE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 9);

/// True if the system knows a way to one of the places of a member: there is a network, whether or not anybody answers.
/// Names are not looked up for that.
fn has_way_to(member: &MemberView) -> bool {
    let way = |to: &SocketAddr| {
        let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        // Connecting a UDP socket sends nothing.
        UdpSocket::bind(any).is_ok_and(|socket| socket.connect(to).is_ok())
    };
    let announced = member.addresses.iter().map(|announced| &announced.place);
    announced.chain(&member.given).any(|place| match place {
        Place::Address(to) => way(to),
        Place::Name(..) => way(&OUTSIDE),
    })
}

fn notice(due: &Due, status: &Status) -> Notice {
    let member = match &due.matter {
        Matter::Absent(node) => status.peers.iter().find(|peer| peer.node_id == *node).cloned(),
        Matter::Damage | Matter::Copies => None,
    };
    let safety = status.safety.as_ref().map(|safety| safety.sentence.clone());
    let text = match (&due.matter, due.is_over) {
        (Matter::Damage, true) => "nothing is damaged any more, and no alarm waits".to_owned(),
        (Matter::Damage, false) => damage(status),
        (Matter::Copies, _) => safety.clone().unwrap_or_default(),
        (Matter::Absent(node), is_over) => absent(node, member.as_ref(), is_over),
    };
    Notice {
        notice: if due.is_over { "over" } else { "begins" },
        about: due.matter.word(),
        text: visible(&text),
        stash_id: status.stash_id.clone(),
        node_id: status.node_id.clone(),
        name: status.name.clone(),
        member,
        safety,
        alarms: status.alarms.iter().take(ALARMS).cloned().collect(),
    }
}

/// Alarms that a notice has; `stash status` has them all.
const ALARMS: usize = 10;

fn damage(status: &Status) -> String {
    if let Some(alarm) = status.alarms.first() {
        return format!("ALARM: {alarm}");
    }
    match (&status.read_only, &status.away) {
        (Some(why), _) => format!("the store takes no writes: {why}"),
        (None, Some(why)) => format!("the chunk files are away: {why}"),
        (None, None) => format!(
            "{} chunks are damaged here and could not be replaced yet: `stash status` says which",
            status.quarantined.max(1)
        ),
    }
}

fn absent(node: &str, member: Option<&PeerState>, is_over: bool) -> String {
    let name = member.and_then(|member| member.name.as_deref()).unwrap_or(short(node));
    if is_over {
        return format!("{name} is back");
    }
    match member.and_then(|member| member.last_seen.as_deref()) {
        Some(seen) => format!("{name} is away; it was last heard of {}", local(seen)),
        None => format!("{name} is away, and was never met"),
    }
}

/// Has the program take what waits, one after the other.
async fn pass_on(daemon: &Daemon, settings: &NotifySettings, waiting: &mut VecDeque<Outgoing>) {
    while waiting.len() > WAITING {
        waiting.pop_front();
        tracing::warn!("a notice was dropped: too many wait for the program that passes them on");
    }
    for _ in 0..waiting.len() {
        let Some(Outgoing { notice, tries, not_before }) = waiting.pop_front() else { return };
        if not_before > Instant::now() {
            waiting.push_back(Outgoing { notice, tries, not_before });
            continue;
        }
        let (command, told) = (settings.command.value.clone(), notice.clone());
        let stop = daemon.stop.clone();
        let ran = tokio::task::spawn_blocking(move || run(&command, &told, DEADLINE, &stop)).await;
        let why = match ran {
            Ok(Ok(())) => {
                tracing::info!(
                    about = notice.about,
                    notice = notice.notice,
                    "a notice was passed on"
                );
                continue;
            }
            Ok(Err(why)) => why,
            Err(error) => error.to_string(),
        };
        match AGAIN.get(tries) {
            Some(pause) => {
                tracing::warn!(%why, "a notice was not passed on, and will be tried again");
                let not_before = Instant::now() + *pause;
                waiting.push_back(Outgoing { notice, tries: tries + 1, not_before });
            }
            None => tracing::warn!(%why, "a notice was not passed on, and is given up"),
        }
    }
}

/// Runs the program with a notice. An error says why the notice was not taken. Blocking.
fn run(
    command: &[String],
    notice: &Notice,
    deadline: Duration,
    stop: &CancellationToken,
) -> Result<(), String> {
    let (program, arguments) = command.split_first().ok_or("there is no program")?;
    let facts = serde_json::to_vec(notice).map_err(|error| error.to_string())?;
    let mut child = Command::new(program)
        .args(arguments)
        .env("STASH_NOTICE", notice.notice)
        .env("STASH_NOTICE_ABOUT", notice.about)
        .env("STASH_NOTICE_TEXT", &notice.text)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(|error| format!("{program} does not start: {error}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // Less than a pipe holds, so nobody waits for a program that does not read.
        let _not_wanted = stdin.write_all(&facts);
    }
    let end = wait(&mut child, deadline, stop);
    match end {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(format!("{program} ended with {status}")),
        None => {
            let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
            if let Some(group) = group {
                let _ended_just_now = kill_process_group(group, Signal::KILL);
            }
            let _reaped = child.wait();
            Err(format!("{program} did not end within {} s", deadline.as_secs()))
        }
    }
}

/// Waits for the end of a process; `None` if it takes longer, or this one stops.
fn wait(
    child: &mut std::process::Child,
    deadline: Duration,
    stop: &CancellationToken,
) -> Option<ExitStatus> {
    let begun = Instant::now();
    while begun.elapsed() < deadline && !stop.is_cancelled() {
        if let Some(status) = child.try_wait().ok()? {
            return Some(status);
        }
        std::thread::sleep(POLL);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    fn script(dir: &Path, text: &str) -> Vec<String> {
        let path = dir.join("tell");
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let argument = dir.join("out; touch injected").to_string_lossy().into_owned();
        vec![path.to_string_lossy().into_owned(), argument]
    }

    fn notice() -> Notice {
        Notice {
            notice: "begins",
            about: "absent",
            text: "$(touch injected) `touch injected`; is away".to_owned(),
            stash_id: "s".to_owned(),
            node_id: "n".to_owned(),
            name: None,
            member: None,
            safety: None,
            alarms: vec!["x".repeat(1_000); 10],
        }
    }

    fn try_it(text: &str, deadline: Duration) -> (tempfile::TempDir, Result<(), String>) {
        let dir = tempfile::tempdir().unwrap();
        let command = script(dir.path(), text);
        let done = run(&command, &notice(), deadline, &CancellationToken::new());
        (dir, done)
    }

    #[test]
    fn the_program_gets_the_facts_and_no_shell_reads_them() {
        let text = r#"cat >"$1"; printf '%s|%s|%s' "$STASH_NOTICE" "$STASH_NOTICE_ABOUT" "$STASH_NOTICE_TEXT" >"$1.env""#;
        let (dir, done) = try_it(text, Duration::from_secs(30));
        assert_eq!(done, Ok(()));
        let out = dir.path().join("out; touch injected");
        let facts: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&out).unwrap()).unwrap();
        assert_eq!((&facts["about"], &facts["text"]), (&"absent".into(), &notice().text.into()));
        let env = std::fs::read_to_string(dir.path().join("out; touch injected.env")).unwrap();
        assert_eq!(env, format!("begins|absent|{}", notice().text));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3, "nothing was injected");
    }

    #[test]
    fn a_program_that_fails_or_is_not_there_or_reads_nothing_is_told_apart() {
        let (_dir, done) = try_it("exit 3", Duration::from_secs(30));
        assert!(done.unwrap_err().ends_with("ended with exit status: 3"));
        let (_dir, done) = try_it("exec <&-; exit 0", Duration::from_secs(30));
        assert_eq!(done, Ok(()));
        let gone = run(&["/nowhere/x".into()], &notice(), LOOK, &CancellationToken::new());
        assert!(gone.unwrap_err().starts_with("/nowhere/x does not start"));
    }

    #[test]
    fn a_program_that_hangs_is_ended_with_all_that_it_started() {
        let (dir, done) = try_it(r#"sleep 1000 & echo $! >"$1"; wait"#, Duration::from_secs(2));
        assert!(done.unwrap_err().contains("did not end within 2 s"));
        let pid = std::fs::read_to_string(dir.path().join("out; touch injected")).unwrap();
        let begun = Instant::now();
        while crate::daemon::ready::runs(pid.trim().parse().unwrap()) {
            assert!(begun.elapsed() < LOOK, "its child still runs");
            std::thread::sleep(POLL);
        }
    }
}
