//! A web server that makes thumbnails, with the decoding in other processes.
//!
//! Shows what a pool is for in a server: images come from strangers, decoders are
//! large, and now and then one crashes, hangs, or eats all memory. Here
//! - a crash costs the one request whose image did it (500), no other,
//! - a request has a deadline (504), and what runs too long is really stopped,
//! - a full queue is said at once (503 with `Retry-After`), instead of piling up,
//! - a client that hangs up takes its work with it,
//! - `/healthz` answers at once whatever the workers do,
//! - SIGTERM and Ctrl-C (on Windows Ctrl-Break, too) let the requests under way finish, then exit with 0.
//!
//! ```text
//! cargo run --release --example web_server            # or with a port as argument
//! curl --data-binary @photo.jpg 'http://127.0.0.1:3000/thumbnail?w=200&h=200' -o thumbnail.png
//! curl http://127.0.0.1:3000/stats
//! ```
//!
//! Environment: `PORT` (3000; 0 is any), `WORKERS` (one a CPU), `QUEUE` (64 requests
//! that wait), `DEADLINE_MS` (10000), `MAX_UPLOAD` (8 MiB, in bytes).
//!
//! To see the isolation without a hostile image at hand, start it with
//! `WEB_SERVER_POISON=2000`: an image of 13×13 pixels then aborts its worker, and
//! one of 17×17 takes 2000 ms.
//!
//! # Why not `tokio::task::spawn_blocking`?
//! It keeps the decoder off the async threads, and that is all it does:
//! - a segmentation fault, an abort or a stack overflow in it ends the server with
//!   all its requests; in a worker it ends the worker,
//! - a closure that runs cannot be stopped: neither a deadline nor a client that
//!   went away frees its thread, and a few images that loop use up all threads,
//! - memory cannot be limited for it alone.

use std::error::Error;
use std::fmt;
use std::io::Cursor;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use image::{ImageError, ImageFormat, ImageReader};
use procpool::{Limits, ProcessPool, TrySubmitError};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

const MIB: u64 = 1 << 20;
/// Of a thumbnail and, in pixels, of what is accepted as an image.
const MAX_SIDE: u32 = 2048;
const MAX_IMAGE_SIDE: u32 = 20_000;

// In the workers.

/// Why an image has no thumbnail: the client's fault, said in a result. (What is
/// nobody's result, a crash, comes as a `procpool::Error`.)
#[derive(Debug, Serialize, Deserialize)]
enum BadImage {
    /// Neither PNG nor JPEG.
    Unknown,
    /// It says it is one, but cannot be decoded.
    Broken(String),
}

/// Decodes an image and makes it fit into `w` × `h`, as PNG.
///
/// `Bytes` and `Vec<u8>` arguments are moved into the message, not copied.
#[procpool::task]
fn thumbnail(image: Bytes, w: u32, h: u32) -> Result<Bytes, BadImage> {
    let broken = |e: ImageError| BadImage::Broken(e.to_string());
    let mut reader = ImageReader::new(Cursor::new(image))
        .with_guessed_format()
        .map_err(|e| BadImage::Broken(e.to_string()))?;
    if !matches!(reader.format(), Some(ImageFormat::Png | ImageFormat::Jpeg)) {
        return Err(BadImage::Unknown);
    }
    let mut limits = image::Limits::default();
    limits.max_image_width = Some(MAX_IMAGE_SIDE);
    limits.max_image_height = Some(MAX_IMAGE_SIDE);
    reader.limits(limits);
    let image = reader.decode().map_err(broken)?;

    poison(image.width(), image.height());

    let small = if image.width() > w || image.height() > h { image.thumbnail(w, h) } else { image };
    let mut png = Cursor::new(Vec::new());
    small.write_to(&mut png, ImageFormat::Png).map_err(broken)?;
    Ok(png.into_inner().into())
}

/// Stands for the bug that a decoder may have; does nothing unless asked for by
/// `WEB_SERVER_POISON`.
fn poison(width: u32, height: u32) {
    let Ok(ms) = std::env::var("WEB_SERVER_POISON") else { return };
    match (width, height) {
        (13, 13) => std::process::abort(),
        (17, 17) => std::thread::sleep(Duration::from_millis(ms.parse().unwrap_or(2000))),
        _ => {}
    }
}

// In the server.

#[derive(Clone)]
struct App {
    pool: ProcessPool,
    deadline: Duration,
}

#[derive(Deserialize)]
struct Size {
    w: u32,
    h: u32,
}

/// `POST /thumbnail?w=&h=` with an image as its body.
///
/// The extractors answer for what they check: 400 where `w` and `h` are not
/// numbers, 413 where the body is too large.
async fn make_thumbnail(
    State(app): State<App>,
    Query(Size { w, h }): Query<Size>,
    image: Bytes,
) -> Result<Response, Failure> {
    if !(1..=MAX_SIDE).contains(&w) || !(1..=MAX_SIDE).contains(&h) {
        return Err(Failure::BadSize);
    }
    // A full queue is an answer too: better a quick "come again" than a client
    // that waits behind a thousand others. `pool.run` would wait for a place.
    let call = app.pool.run(thumbnail(image, w, h)).timeout(app.deadline).try_spawn();
    let call = call.map_err(|e| match e {
        TrySubmitError::Full(_) => Failure::Full,
        TrySubmitError::Refused(error) => Failure::Pool(error),
    })?;
    // When the client goes away, axum drops this future, and with it the handle:
    // that stops the call.
    let result = call.abort_on_drop().await?;
    let png = result.map_err(Failure::Image)?;
    Ok(([(header::CONTENT_TYPE, "image/png")], png).into_response())
}

async fn healthz() -> &'static str {
    "ok\n"
}

/// The part of the pool's numbers that one wants to watch.
#[derive(Serialize)]
struct Stats {
    workers: usize,
    ready: usize,
    queued: usize,
    running: usize,
    submitted: u64,
    done: u64,
    failed: u64,
    cancelled: u64,
    crashed_workers: u64,
    stopped_workers: u64,
    wait_p99_ms: f64,
    run_p50_ms: f64,
    run_p99_ms: f64,
}

async fn stats(State(app): State<App>) -> Json<Stats> {
    let stats = app.pool.stats();
    let ms = |d: Duration| d.as_secs_f64() * 1e3;
    Json(Stats {
        workers: stats.workers,
        ready: stats.ready,
        queued: stats.queued,
        running: stats.running,
        submitted: stats.submitted,
        done: stats.done,
        failed: stats.failed,
        cancelled: stats.cancelled,
        crashed_workers: stats.restarts.crashed,
        stopped_workers: stats.restarts.cancelled,
        wait_p99_ms: ms(stats.wait.quantile(0.99)),
        run_p50_ms: ms(stats.run.quantile(0.5)),
        run_p99_ms: ms(stats.run.quantile(0.99)),
    })
}

/// What a client is told instead of a thumbnail.
enum Failure {
    BadSize,
    Image(BadImage),
    Full,
    Pool(procpool::Error),
}

impl From<procpool::Error> for Failure {
    fn from(error: procpool::Error) -> Self {
        Failure::Pool(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        match self {
            Failure::BadSize => {
                (StatusCode::BAD_REQUEST, format!("w and h go from 1 to {MAX_SIDE}\n"))
                    .into_response()
            }
            Failure::Image(BadImage::Unknown) => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "send a PNG or a JPEG\n").into_response()
            }
            Failure::Image(BadImage::Broken(reason)) => {
                let text = format!("the image cannot be decoded: {reason}\n");
                (StatusCode::UNPROCESSABLE_ENTITY, text).into_response()
            }
            Failure::Full => unavailable("too many requests are waiting\n"),
            Failure::Pool(error) if error.is_timeout() => {
                (StatusCode::GATEWAY_TIMEOUT, "it took too long\n").into_response()
            }
            Failure::Pool(error) if error.is_closed() => unavailable("the server is stopping\n"),
            Failure::Pool(error) => {
                // The cause, with the signal and the pid, is for us to see.
                eprintln!("thumbnail failed: {error}");
                let text = if error.is_worker_died() {
                    "the image crashed its decoder\n"
                } else {
                    "something went wrong\n"
                };
                (StatusCode::INTERNAL_SERVER_ERROR, text).into_response()
            }
        }
    }
}

fn unavailable(text: &'static str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")], text).into_response()
}

// From start to end.

#[procpool::main]
async fn main() -> ExitCode {
    match serve().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("web_server: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve() -> Result<(), Box<dyn Error>> {
    let port: u16 = match std::env::args().nth(1) {
        Some(port) => port.parse().map_err(|e| format!("port {port}: {e}"))?,
        None => setting("PORT", 3000)?,
    };
    let deadline = Duration::from_millis(setting("DEADLINE_MS", 10_000)?);
    let pool = ProcessPool::builder()
        .name("thumbnails")
        .workers(setting("WORKERS", procpool::usable_cpu_count())?)
        .queue_capacity(setting("QUEUE", 64)?)
        // An image that unpacks to more fails alone, before it is everybody's problem.
        .limits(Limits::new().memory(1024 * MIB))
        // Whatever decoders leak goes with their process.
        .max_tasks_per_worker(10_000)
        .build()
        .await?;

    let app = Router::new()
        .route("/thumbnail", post(make_thumbnail))
        .layer(DefaultBodyLimit::max(setting("MAX_UPLOAD", 8 * MIB as usize)?))
        .route("/healthz", get(healthz))
        .route("/stats", get(stats))
        .with_state(App { pool: pool.clone(), deadline });

    // Before the first line of output: who reads it may send a signal at once.
    let stop = request_to_end()?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("listening on http://{}", listener.local_addr()?);

    // Accepts nobody after `stop`, and returns when the last answer is sent.
    axum::serve(listener, app).with_graceful_shutdown(stop).await?;
    pool.shutdown().await?;
    println!("all requests are answered, all workers are gone");
    Ok(())
}

/// Comes when somebody asks this process to end. Listens from the call on.
///
/// Workers do not get Ctrl-C. A service manager should send SIGTERM to this process
/// only (in systemd: `KillMode=mixed`), or the workers end too early.
#[cfg(unix)]
fn request_to_end() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    })
}

/// Comes when somebody asks this process to end. Listens from the call on.
#[cfg(windows)]
fn request_to_end() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::windows::{ctrl_break, ctrl_c};
    let (mut c, mut pause) = (ctrl_c()?, ctrl_break()?);
    Ok(async move {
        tokio::select! {
            _ = c.recv() => {}
            _ = pause.recv() => {}
        }
    })
}

/// A number from the environment.
fn setting<T: FromStr<Err: fmt::Display>>(name: &str, default: T) -> Result<T, String> {
    match std::env::var(name) {
        Ok(text) => text.parse().map_err(|e| format!("{name}={text}: {e}")),
        Err(_) => Ok(default),
    }
}
