//! A client against a socket that says what it is told to.

use std::error::Error;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame};
use hyper::{Request, StatusCode};
use stash_api::error::Code;
use stash_api::files::{GetRequest, PutDone, Restore, Where, object_path};
use stash_api::members::PeerRemove;
use stash_api::operation::Progress;
use stash_api::{Client, ClientError, client};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixListener;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Takes one request, answers with `head` and `body`, and closes.
struct Once {
    socket: PathBuf,
    heard: JoinHandle<String>,
    _directory: TempDir,
}

impl Once {
    fn answers(head: &'static str, body: &'static str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("s");
        let listener = UnixListener::bind(&socket).unwrap();
        let heard = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = BufReader::new(stream);
            let (mut request, mut length) = (String::new(), 0);
            while !request.ends_with("\r\n\r\n") {
                let mut line = String::new();
                if stream.read_line(&mut line).await.unwrap() == 0 {
                    return request;
                }
                if let Some(value) = line.strip_prefix("content-length: ") {
                    length = value.trim().parse().unwrap();
                }
                request += &line;
            }
            let mut sent = vec![0; length];
            stream.read_exact(&mut sent).await.unwrap();
            request += &String::from_utf8(sent).unwrap();
            stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).await.unwrap();
            request
        });
        Self { socket, heard, _directory: directory }
    }

    fn client(&self) -> Client {
        Client::new(&self.socket)
    }
}

/// An answer without a length, as those of operations: it ends with the connection.
const OK: &str = "HTTP/1.1 200 OK\r\nconnection: close";

fn get() -> GetRequest {
    GetRequest {
        key: Some("a".to_owned()),
        keys: Vec::new(),
        output: "/b".to_owned(),
        overwrite: false,
        verify: false,
        dry_run: false,
        restore: Restore::default(),
        keep: true,
        version: None,
        umask: None,
    }
}

#[tokio::test]
async fn a_document_is_asked_for_under_its_route() {
    let node = Once::answers(OK, r#"{"key":"a b","chunks":1,"inline":false,"nodes":[]}"#);
    let found = node.client().get(&Where::route("a b")).await.unwrap();
    assert_eq!((found.key, found.chunks), ("a b".to_owned(), 1));
    let heard = node.heard.await.unwrap();
    assert!(heard.starts_with("GET /v1/where/a%20b HTTP/1.1\r\n"), "{heard}");
    assert!(heard.contains("\r\nhost: stash\r\n") && heard.ends_with("\r\n\r\n"), "{heard}");
}

#[tokio::test]
async fn a_call_sends_its_body_as_json() {
    let changed = r#"{"node_id":"00","name":null,"role":null,"epoch":1,"asked":0,"silent":[]}"#;
    let node = Once::answers(OK, changed);
    let call = PeerRemove { peer: "nas".into(), alone: false };
    assert_eq!(node.client().call(&call).await.unwrap().epoch, 1);
    let heard = node.heard.await.unwrap();
    assert!(heard.starts_with("POST /v1/peers/remove HTTP/1.1\r\n"), "{heard}");
    assert!(heard.contains("\r\ncontent-type: application/json\r\n"), "{heard}");
    assert!(heard.ends_with("\r\n\r\n{\"peer\":\"nas\",\"alone\":false}"), "{heard}");
}

#[tokio::test]
async fn an_operation_is_followed_to_its_end() {
    let lines = "{\"progress\":{\"files\":0,\"bytes\":5,\"total_bytes\":null}}\n\
                 {\"progress\":{\"files\":1,\"bytes\":7,\"total_bytes\":7}}\n\
                 {\"done\":{\"files\":1,\"bytes\":7,\"outputs\":[\"/b\"],\"conflicts\":0,\"lacking\":[]}}\n";
    let node = Once::answers(OK, lines);
    let mut seen = Vec::new();
    let done = node.client().operate(&get(), |far| seen.push(far)).await.unwrap();
    assert_eq!(done.outputs, ["/b"]);
    let far = |files, bytes, total_bytes| Progress { files, bytes, total_bytes, growing: false };
    assert_eq!(seen, [far(0, 5, None), far(1, 7, Some(7))]);
}

#[tokio::test]
async fn an_error_is_the_same_early_and_late() {
    const BODY: &str = r#"{"error":{"code":"not_found","message":"none","hint":"look"}}"#;
    for head in ["HTTP/1.1 404 Not Found\r\nconnection: close", OK] {
        let line = Once::answers(
            head,
            concat!(r#"{"error":{"code":"not_found","message":"none","hint":"look"}}"#, "\n"),
        );
        let error = line.client().operate(&get(), |_| {}).await.unwrap_err();
        assert_eq!(error.to_string(), "none");
        let ClientError::Answered(problem) = error else { panic!("{error:?}") };
        assert_eq!((problem.code, problem.hint.as_deref()), (Code::NotFound, Some("look")));
    }
    let node = Once::answers("HTTP/1.1 404 Not Found\r\nconnection: close", BODY);
    let error = node.client().get(&Where::route("a")).await.unwrap_err();
    assert!(matches!(error, ClientError::Answered(_)), "{error:?}");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_no_answer() {
    let progress = "{\"progress\":{\"files\":0,\"bytes\":5,\"total_bytes\":null}}\n";
    for lines in ["", progress, "{\"done\":{\"files\":1"] {
        let node = Once::answers(OK, lines);
        let error = node.client().operate(&get(), |_| {}).await.unwrap_err();
        assert!(matches!(error, ClientError::Ended { .. }), "{error:?}");
    }
    let node = Once::answers("HTTP/1.1 200 OK\r\ncontent-length: 99", "{\"key\":");
    let error = node.client().get(&Where::route("a")).await.unwrap_err();
    assert!(matches!(error, ClientError::Ended { .. }), "{error:?}");
}

#[tokio::test]
async fn a_status_without_an_error_document_and_another_document_are_told_apart() {
    let node = Once::answers("HTTP/1.1 502 Bad Gateway\r\nconnection: close", "<html>");
    let error = node.client().get(&Where::route("a")).await.unwrap_err();
    let ClientError::Unexplained { status } = error else { panic!("{error:?}") };
    assert_eq!(status, StatusCode::BAD_GATEWAY);
    let node = Once::answers(OK, r#"{"roots":[]}"#);
    let error = node.client().get(&Where::route("a")).await.unwrap_err();
    assert!(matches!(error, ClientError::Unexpected(_)), "{error:?}");
}

#[tokio::test]
async fn a_socket_where_nobody_listens_is_told_from_one_that_is_none() {
    let directory = tempfile::tempdir().unwrap();
    let absent = Client::new(directory.path().join("none"));
    assert!(!absent.daemon_runs().await);
    let error = absent.get(&Where::route("a")).await.unwrap_err();
    assert!(matches!(error, ClientError::NotRunning { .. }), "{error:?}");
    let long = Client::new(directory.path().join("n".repeat(108)));
    let error = long.get(&Where::route("a")).await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error:?}");
}

/// Takes connections and answers on none but those that ask for the version, if `lives`.
async fn silent(lives: bool) -> (Client, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("s");
    let listener = UnixListener::bind(&socket).unwrap();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            let mut stream = BufReader::new(stream);
            let mut line = String::new();
            stream.read_line(&mut line).await.unwrap();
            if lives && line.starts_with("GET /v1/version ") {
                stream.write_all(format!("{OK}\r\n\r\n{{}}").as_bytes()).await.unwrap();
            } else {
                open.push(stream);
            }
        }
    });
    (Client::new(socket), directory)
}

static TOLD: AtomicU32 = AtomicU32::new(0);

#[tokio::test(start_paused = true)]
async fn a_node_that_is_stopped_ends_the_wait_within_half_a_minute_and_the_caller_is_told_before() {
    let (client, _directory) = silent(false).await;
    let client = client.telling_of_waits(|_| {
        TOLD.fetch_add(1, Ordering::Relaxed);
    });
    let begun = Instant::now();
    let error = client.get(&Where::route("a")).await.unwrap_err();
    assert!(matches!(error, ClientError::Silent), "{error:?}");
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    assert_eq!(TOLD.load(Ordering::Relaxed), 1);
    assert!(matches!(client.answers().await, Err(ClientError::Silent)));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_lives_is_waited_for_longer_and_not_for_ever() {
    let (client, _directory) = silent(true).await;
    let begun = Instant::now();
    let error = client.get(&Where::route("a")).await.unwrap_err();
    assert!(matches!(error, ClientError::Silent), "{error:?}");
    assert!((60..300).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    client.answers().await.unwrap();
}

#[tokio::test]
async fn a_body_that_fails_is_among_the_sources_of_the_error() {
    let node = Once::answers(OK, "");
    let pieces = [
        Ok(Frame::data(Bytes::from_static(b"a"))),
        Err(std::io::Error::other("the caller's own disk")),
    ];
    let body = StreamBody::new(stream::iter(pieces)).boxed_unsync();
    let request = Request::put(object_path("a")).body(body).unwrap();
    let error = node.client().send(request, None).await.unwrap_err();
    let mut sources = std::iter::successors(error.source(), |error| (*error).source());
    assert!(sources.any(|source| source.to_string() == "the caller's own disk"), "{error:?}");
}

#[tokio::test]
async fn bytes_are_sent_and_their_answer_is_a_document() {
    let node = Once::answers(OK, r#"{"roots":[],"confirmed_days":3}"#);
    let request = Request::put(object_path("a b")).body(client::empty()).unwrap();
    let response = node.client().send(request, None).await.unwrap();
    let done: PutDone = client::document(response).await.unwrap();
    assert_eq!(done.confirmed_days, Some(3));
    assert!(node.heard.await.unwrap().starts_with("PUT /v1/objects/a%20b HTTP/1.1\r\n"));
}
