//! Operations that take a while: they tell of their progress in NDJSON, and end with the client.

use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use futures::stream;
use serde::Serialize;
use stash_api::operation::{self as api, Event};
use stash_vault::Progress;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};
use tokio_util::sync::DropGuard;

use crate::daemon::Place;
use crate::error::{Class, Problem};

/// An operation that fails this early answers with an HTTP status of its own.
const AT_ONCE: Duration = Duration::from_millis(200);

/// Between two looks at the counters.
const TICK: Duration = Duration::from_millis(200);

/// A line is sent this often even if nothing moved, so that the client knows that somebody works.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// Starts `work` and answers with its progress and its end. A client that goes away cancels it.
pub(super) async fn run<T, F>(
    place: Place<'_>,
    work: impl FnOnce(Progress) -> F,
) -> Result<Response, Problem>
where
    T: Serialize + Send + 'static,
    F: Future<Output = Result<T, Problem>> + Send + 'static,
{
    let mut running = start(place, work);
    match timeout(AT_ONCE, running.next_end()).await {
        Ok(Err(problem)) => Err(problem),
        Ok(Ok(done)) => Ok(ndjson(Body::from(line(&Event::Done(done))))),
        Err(_) => Ok(ndjson(running.lines())),
    }
}

/// Runs `work` and waits for its end. Whoever drops the wait cancels it.
pub(super) async fn finish<T, F>(
    place: Place<'_>,
    work: impl FnOnce(Progress) -> F,
) -> Result<T, Problem>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Problem>> + Send + 'static,
{
    start(place, work).next_end().await
}

fn start<T, F>(place: Place<'_>, work: impl FnOnce(Progress) -> F) -> Running<T>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Problem>> + Send + 'static,
{
    let cancel = place.cancel.child_token();
    let progress = Progress::with_cancel(cancel.clone());
    let (told, end) = oneshot::channel();
    let work = work(progress.clone());
    let place_ends = place.cancel.clone();
    place.tracker.spawn(async move {
        let end = work.await.map_err(|problem| match problem.code {
            Class::Cancelled if place_ends.is_cancelled() => stopped(),
            _ => problem,
        });
        // A client that is gone does not hear the end.
        let _gone = told.send(end);
    });
    Running { end, progress, _cancel: cancel.drop_guard(), last: None, at: Instant::now() }
}

/// An operation as its client sees it. Dropping it cancels the operation.
struct Running<T> {
    end: oneshot::Receiver<Result<T, Problem>>,
    progress: Progress,
    _cancel: DropGuard,
    last: Option<api::Progress>,
    at: Instant,
}

impl<T: Serialize + Send + 'static> Running<T> {
    fn lines(self) -> Body {
        let lines = stream::unfold(Some(self), |running| async move {
            let mut running = running?;
            let event = running.next().await;
            let more = matches!(event, Event::Progress(_)).then_some(running);
            Some((Ok::<_, Infallible>(line(&event)), more))
        });
        Body::from_stream(lines)
    }

    async fn next(&mut self) -> Event<T> {
        loop {
            match timeout(TICK, &mut self.end).await {
                Ok(end) => return last(end.unwrap_or_else(|_| Err(lost()))),
                Err(_) if self.worth_telling() => return Event::Progress(self.now()),
                Err(_) => {}
            }
        }
    }

    fn worth_telling(&mut self) -> bool {
        let now = self.now();
        let told = self.last == Some(now) && self.at.elapsed() < HEARTBEAT;
        if !told {
            self.last = Some(now);
            self.at = Instant::now();
        }
        !told
    }
}

impl<T> Running<T> {
    async fn next_end(&mut self) -> Result<T, Problem> {
        (&mut self.end).await.unwrap_or_else(|_| Err(lost()))
    }

    fn now(&self) -> api::Progress {
        let now = self.progress.snapshot();
        let total_bytes = (now.total_bytes > 0).then_some(now.total_bytes);
        api::Progress { files: now.files, bytes: now.bytes, total_bytes, growing: now.growing }
    }
}

/// The last line of an answer.
fn last<T>(end: Result<T, Problem>) -> Event<T> {
    end.map_or_else(|problem| Event::Error(problem.into()), Event::Done)
}

/// The operation was cancelled, and not by its client.
fn stopped() -> Problem {
    Problem::new(
        Class::Temporary,
        "the node stopped before it was done; what it had not confirmed is not stored",
    )
    .hint("start it with: stash up, and repeat the command")
}

fn lost() -> Problem {
    Problem::new(Class::Failed, "the operation ended in a defect of the daemon")
        .hint("its log says where; please report it")
}

fn line<T: Serialize>(event: &T) -> Bytes {
    // Numbers and strings always have a JSON form.
    let mut line = serde_json::to_vec(event).unwrap_or_default();
    line.push(b'\n');
    line.into()
}

fn ndjson(body: Body) -> Response {
    ([(CONTENT_TYPE, "application/x-ndjson")], body).into_response()
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use tokio_util::sync::CancellationToken;
    use tokio_util::task::TaskTracker;

    use super::*;

    async fn text(response: Response) -> String {
        String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec())
            .unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn an_early_error_has_a_status_and_a_late_one_is_a_line() {
        let (tracker, cancel) = (TaskTracker::new(), CancellationToken::new());
        let place = || Place { tracker: &tracker, cancel: &cancel };
        let problem = Problem::new(Class::NotFound, "none");
        let early = problem.clone();
        let result = run::<(), _>(place(), |_| async move { Err(early) }).await;
        assert_eq!(result.map(|_| ()), Err(problem.clone()));

        let late = run::<(), _>(place(), |_| async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Err(problem)
        });
        let text = text(late.await.unwrap()).await;
        let last = text.lines().last().unwrap();
        assert_eq!(last, r#"{"error":{"code":"not_found","message":"none","hint":null}}"#);
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_operation_still_sends_a_line_every_few_seconds() {
        let (tracker, cancel) = (TaskTracker::new(), CancellationToken::new());
        let place = Place { tracker: &tracker, cancel: &cancel };
        let response = run(place, |_| async {
            tokio::time::sleep(Duration::from_secs(31)).await;
            Ok(7)
        });
        let text = text(response.await.unwrap()).await;
        assert_eq!(text.lines().last(), Some(r#"{"done":7}"#));
        assert!((6..10).contains(&text.lines().count()), "{text}");
    }

    // Fault case 93.
    #[tokio::test(start_paused = true)]
    async fn a_client_that_goes_away_cancels_its_operation() {
        let (tracker, cancel) = (TaskTracker::new(), CancellationToken::new());
        let place = Place { tracker: &tracker, cancel: &cancel };
        let (seen, cancelled) = oneshot::channel();
        let response = run(place, |progress| async move {
            progress.token().cancelled().await;
            let _told = seen.send(());
            Ok(())
        });
        drop(response.await.unwrap());
        cancelled.await.unwrap();
        assert!(!cancel.is_cancelled());
    }
}
