//! The web server of the examples, from outside: a real process, real requests over
//! HTTP, real images.
//!
//! As in `examples.rs`, the server is the one that cargo built next to this test.

mod common;

use std::io::{BufRead, BufReader, Cursor, Read};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use axum::http::{Request, StatusCode, header};
use bytes::Bytes;
use common::os;
use futures::future::join_all;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};

procpool::test_hook!();

/// No answer of a healthy server takes this long, on a loaded machine either.
const SOON: Duration = Duration::from_secs(10);
/// How long the slow image takes where it is to be stopped: as good as for ever.
const FOR_EVER: (&str, &str) = ("WEB_SERVER_POISON", "600000");

/// A test with a server. The audit sees what the server leaves behind.
fn with_server<F>(env: &[(&str, &str)], body: impl FnOnce(Server) -> F)
where
    F: Future<Output = ()>,
{
    os::adopt_orphans();
    common::run(|| body(Server::start(env)));
}

struct Server {
    child: Child,
    stdout: Option<BufReader<ChildStdout>>,
    url: String,
    client: Client<HttpConnector, Full<Bytes>>,
}

struct Answer {
    status: StatusCode,
    headers: axum::http::HeaderMap,
    body: Bytes,
}

impl Answer {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the answer is text")
    }

    /// The size of the image in it, which must be a PNG.
    fn png_size(&self) -> (u32, u32) {
        assert_eq!(self.status, StatusCode::OK, "{:?}", self.body);
        assert_eq!(self.headers[header::CONTENT_TYPE], "image/png");
        let image = image::load_from_memory_with_format(&self.body, ImageFormat::Png)
            .expect("the answer is a PNG");
        (image.width(), image.height())
    }
}

impl Server {
    fn start(env: &[(&str, &str)]) -> Server {
        let mut command = Command::new(common::example("web_server"));
        command
            .env("PORT", "0")
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = os::spawn(&mut command).expect("the server starts");
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("listening on ").expect("it says where it listens");
        Server {
            child,
            stdout: Some(stdout),
            url: url.to_owned(),
            client: Client::builder(TokioExecutor::new()).build_http(),
        }
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Answer {
        let answer = self.client.request(request).await.expect("the server answers");
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.expect("the whole answer comes").to_bytes();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    async fn get(&self, path: &str) -> Answer {
        let request = Request::get(format!("{}{path}", self.url));
        self.send(request.body(Full::default()).unwrap()).await
    }

    async fn post(&self, query: &str, body: impl Into<Bytes>) -> Answer {
        let request = Request::post(format!("{}/thumbnail{query}", self.url));
        self.send(request.body(Full::new(body.into())).unwrap()).await
    }

    /// A small thumbnail of `image`.
    async fn thumbnail(&self, image: &Bytes) -> Answer {
        self.post("?w=8&h=8", image.clone()).await
    }

    async fn stat(&self, name: &str) -> u64 {
        let answer = self.get("/stats").await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.headers[header::CONTENT_TYPE], "application/json");
        let text = answer.text();
        let (_, after) = text.split_once(&format!("\"{name}\":")).expect("the number is there");
        let end = after.find([',', '}']).unwrap();
        after[..end].parse().expect("it is a whole number")
    }

    /// Asks until the number `name` is `wanted`.
    async fn until(&self, name: &str, wanted: u64) {
        let deadline = Instant::now() + SOON;
        loop {
            let is = self.stat(name).await;
            if is == wanted {
                return;
            }
            assert!(Instant::now() < deadline, "`{name}` is {is} and does not become {wanted}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Waits until nobody listens any more.
    async fn refuses_connections(&self) {
        let address = self.url.strip_prefix("http://").unwrap();
        let deadline = Instant::now() + SOON;
        while tokio::net::TcpStream::connect(address).await.is_ok() {
            assert!(Instant::now() < deadline, "the server still listens");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Waits for its end; gives its status and the rest of its output.
    async fn ended(&mut self) -> (ExitStatus, String) {
        let deadline = Instant::now() + SOON;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "the server does not end");
            tokio::time::sleep(Duration::from_millis(2)).await;
        };
        // No worker holds the other end any more, or this would hang.
        let mut rest = String::new();
        self.stdout.take().unwrap().read_to_string(&mut rest).unwrap();
        (status, rest)
    }

    /// Ends it as a service manager would, and sees that it goes in order.
    async fn stop(mut self) {
        if !os::REQUESTS[0].send(&self.child) {
            // Nothing orderly can be asked for here: then by force, and still nothing
            // may be left.
            self.child.kill().unwrap();
            self.ended().await;
            common::eventually("all have gone", || os::children().is_empty()).await;
            return;
        }
        let (status, rest) = self.ended().await;
        assert_eq!(status.code(), Some(0));
        assert_eq!(rest, "all requests are answered, all workers are gone\n");
        assert_eq!(os::children(), [], "left behind");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing, after `stop`; cleaning up, after a failure.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An image with some structure in it.
fn image(width: u32, height: u32, format: ImageFormat) -> Bytes {
    let pixels = RgbImage::from_fn(width, height, |x, y| {
        Rgb([(x * 255 / width) as u8, (y * 255 / height) as u8, ((x ^ y) & 255) as u8])
    });
    let mut encoded = Cursor::new(Vec::new());
    DynamicImage::from(pixels).write_to(&mut encoded, format).unwrap();
    encoded.into_inner().into()
}

fn png(width: u32, height: u32) -> Bytes {
    image(width, height, ImageFormat::Png)
}

/// The images that misbehave where `WEB_SERVER_POISON` is set.
fn crashing() -> Bytes {
    png(13, 13)
}

fn slow() -> Bytes {
    png(17, 17)
}

#[test]
fn thumbnails_of_png_and_jpeg_keep_their_shape() {
    with_server(&[("WORKERS", "2")], |server| async move {
        for format in [ImageFormat::Png, ImageFormat::Jpeg] {
            let image = image(400, 300, format);
            assert_eq!(server.post("?w=100&h=100", image.clone()).await.png_size(), (100, 75));
            assert_eq!(server.post("?w=200&h=30", image.clone()).await.png_size(), (40, 30));
            // It is not made larger than it is.
            assert_eq!(server.post("?w=2000&h=2000", image).await.png_size(), (400, 300));
        }
        // Without the switch the magic sizes are sizes like others.
        assert_eq!(server.thumbnail(&crashing()).await.png_size(), (8, 8));
        assert_eq!(server.get("/healthz").await.text(), "ok\n");
        assert_eq!(server.stat("workers").await, 2);
        assert_eq!(server.stat("done").await, 7);
        assert_eq!(server.stat("failed").await, 0);
        server.stop().await;
    });
}

#[test]
fn a_thumbnail_has_the_colours_of_its_image() {
    with_server(&[("WORKERS", "1")], |server| async move {
        let red = RgbImage::from_pixel(300, 300, Rgb([200, 10, 30]));
        let mut encoded = Cursor::new(Vec::new());
        DynamicImage::from(red).write_to(&mut encoded, ImageFormat::Png).unwrap();
        let answer = server.post("?w=30&h=30", encoded.into_inner()).await;
        let small = image::load_from_memory(&answer.body).unwrap().to_rgb8();
        assert!(small.pixels().all(|pixel| *pixel == Rgb([200, 10, 30])));
        server.stop().await;
    });
}

#[test]
fn bad_requests_are_told_why() {
    with_server(&[("WORKERS", "1"), ("MAX_UPLOAD", "50000")], |server| async move {
        let good = png(20, 20);
        for query in
            ["", "?w=8", "?w=8&h=tall", "?w=-1&h=8", "?w=0&h=8", "?w=8&h=0", "?w=8&h=1000000"]
        {
            let answer = server.post(query, good.clone()).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{query}");
            assert!(!answer.text().trim().is_empty());
        }
        for garbage in ["", "not an image", "GIF89a.............."] {
            let answer = server.post("?w=8&h=8", garbage).await;
            assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{garbage:?}");
            assert_eq!(answer.text(), "send a PNG or a JPEG\n");
        }
        let cut_off = good.slice(..good.len() / 2);
        let answer = server.thumbnail(&cut_off).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert!(answer.text().starts_with("the image cannot be decoded: "), "{}", answer.text());

        let answer = server.post("?w=8&h=8", vec![0; 50_001]).await;
        assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(server.get("/thumbnail").await.status, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(server.get("/nothing").await.status, StatusCode::NOT_FOUND);

        // None of it has cost a worker.
        assert_eq!(server.thumbnail(&good).await.png_size(), (8, 8));
        assert_eq!(server.stat("crashed_workers").await, 0);
        server.stop().await;
    });
}

#[test]
fn a_full_queue_is_said_and_who_hangs_up_makes_room() {
    let env = [FOR_EVER, ("WORKERS", "1"), ("QUEUE", "1")];
    with_server(&env, |server| async move {
        let (slow, good) = (slow(), png(20, 20));
        let mut running = Box::pin(server.thumbnail(&slow));
        tokio::select! {
            _ = &mut running => panic!("the slow image is done"),
            () = server.until("running", 1) => {}
        }
        let mut waiting = Box::pin(server.thumbnail(&good));
        tokio::select! {
            _ = &mut running => panic!("the slow image is done"),
            _ = &mut waiting => panic!("there is no worker for a second one"),
            () = server.until("queued", 1) => {}
        }

        let refused = server.thumbnail(&good).await;
        assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(refused.headers[header::RETRY_AFTER], "1");
        // Who has no worker can still be told that all is well, and soon.
        let asked = Instant::now();
        assert_eq!(server.get("/healthz").await.status, StatusCode::OK);
        assert!(asked.elapsed() < SOON);

        // The client of the slow image goes away: its worker is stopped and
        // replaced, and the one that waited gets its thumbnail.
        drop(running);
        assert_eq!(waiting.await.png_size(), (8, 8));
        server.until("running", 0).await;
        assert_eq!(server.stat("cancelled").await, 1);
        assert_eq!(server.stat("stopped_workers").await, 1);
        assert_eq!(server.stat("failed").await, 0);
        server.stop().await;
    });
}

#[test]
fn a_request_that_takes_too_long_is_stopped() {
    let env = [FOR_EVER, ("WORKERS", "1"), ("DEADLINE_MS", "1000")];
    with_server(&env, |server| async move {
        let answer = server.thumbnail(&slow()).await;
        assert_eq!(answer.status, StatusCode::GATEWAY_TIMEOUT);
        assert_eq!(answer.text(), "it took too long\n");
        // Not only the answer is given up: so is the work.
        server.until("stopped_workers", 1).await;
        server.until("ready", 1).await;
        assert_eq!(server.thumbnail(&png(20, 20)).await.png_size(), (8, 8));
        server.stop().await;
    });
}

#[test]
fn a_crash_costs_one_request() {
    with_server(&[FOR_EVER, ("WORKERS", "2")], |server| async move {
        let (bad, good) = (crashing(), png(20, 20));
        let before = join_all((0..10).map(|_| server.thumbnail(&good)));
        let after = join_all((0..10).map(|_| server.thumbnail(&good)));
        let health = join_all((0..10).map(|_| async {
            let asked = Instant::now();
            let answer = server.get("/healthz").await;
            (answer.status, asked.elapsed())
        }));
        let (before, crashed, after, health) =
            tokio::join!(before, server.thumbnail(&bad), after, health);
        assert_eq!(crashed.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(crashed.text(), "the image crashed its decoder\n");
        for answer in before.iter().chain(&after) {
            assert_eq!(answer.png_size(), (8, 8));
        }
        for (status, took) in health {
            assert_eq!(status, StatusCode::OK);
            assert!(took < SOON, "{took:?}");
        }
        assert_eq!(server.stat("crashed_workers").await, 1);
        assert_eq!(server.stat("failed").await, 1);
        assert_eq!(server.stat("done").await, 20);
        server.until("ready", 2).await;
        server.stop().await;
    });
}

#[test]
fn a_request_to_end_lets_the_one_under_way_finish() {
    for ending in os::REQUESTS {
        let env = [("WEB_SERVER_POISON", "2000"), ("WORKERS", "1")];
        with_server(&env, |mut server| async move {
            let slow = slow();
            let mut under_way = Box::pin(server.thumbnail(&slow));
            tokio::select! {
                _ = &mut under_way => panic!("it was done before it was seen to run"),
                () = server.until("running", 1) => {}
            }
            if !ending.send(&server.child) {
                return;
            }
            // New clients are turned away at once,
            server.refuses_connections().await;
            // and the old one gets its answer.
            assert_eq!(under_way.await.png_size(), (8, 8));
            let (status, rest) = server.ended().await;
            assert_eq!(status.code(), Some(0));
            assert_eq!(rest, "all requests are answered, all workers are gone\n");
            assert_eq!(os::children(), [], "left behind");
        });
    }
}
