//! The body of an upload: the payload's pieces, then perhaps its SHA-1, of exactly known length.
//!
//! B2 refuses chunked uploads (API §5.2), and hyper sends a `Content-Length` when `size_hint` is
//! exact. Pieces are cut, not copied, into frames small enough that a slow but living line takes
//! one well within the stall limit, and handed out no faster than our own limit allows. The other end, [`Sent`], tells how
//! far it is.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep};

use super::calls::Pulse;
use super::throttle::Throttle;
use super::{Hasher, Payload, Sha1};

/// What is handed to the connection at once. At 30 s of stall this asks for 4 KiB/s.
const FRAME: usize = 128 << 10;

/// What the kernel takes without anybody reading at the other end (the usual `tcp_wmem`).
const UNREAD: u64 = 4 << 20;

/// Up to here the SHA-1 is computed before sending, which costs less than a second pass and
/// lets B2 refuse early; beyond, hashing overlaps with sending (API §5.2, `hex_digits_at_end`).
const HASH_BEFORE: u64 = 1 << 20;

/// The word that announces the SHA-1 after the content.
const AT_END: &str = "hex_digits_at_end";

/// What all bodies on their way share.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) pulse: Pulse,
    pub(super) throttle: Arc<Throttle>,
    /// Counts what is sent as it leaves: at a low rate it may be long until a body is whole, and others wait for as long
    /// as it moves.
    pub(super) bytes: Arc<AtomicU64>,
}

/// Content to be sent, as often as needed; remembers its SHA-1 once known.
#[derive(Debug)]
pub(super) struct Content {
    payload: Payload,
    sha1: Option<Sha1>,
}

impl Content {
    pub(super) fn new(payload: Payload) -> Self {
        let sha1 = (payload.len() <= HASH_BEFORE).then(|| {
            let mut hash = Hasher::new();
            for piece in payload.pieces() {
                hash.update(piece);
            }
            hash.finish()
        });
        Self { payload, sha1 }
    }

    pub(super) fn len(&self) -> u64 {
        self.payload.len()
    }

    /// The SHA-1, known from the start or once all was sent.
    pub(super) fn sha1(&self) -> Option<Sha1> {
        self.sha1
    }

    pub(super) fn learn(&mut self, sent: &Sent) {
        self.sha1 = self.sha1.or(sent.sha1.get().copied());
    }

    /// A body for one try, its progress, and the value of `X-Bz-Content-Sha1`. With a pause, nothing
    /// of it is handed out for so long.
    pub(super) fn body(&self, line: &Line, pause: Duration) -> (Body, Arc<Sent>, String) {
        let sent = Arc::new(Sent::default());
        self.payload.taken().begin();
        let trailer = if self.sha1.is_none() { 40 } else { 0 };
        let body = Body {
            payload: self.payload.clone(),
            next: 0,
            piece: Bytes::new(),
            hash: self.sha1.is_none().then(Hasher::new),
            left: self.payload.len() + trailer,
            sent: Arc::clone(&sent),
            line: line.clone(),
            allowed: None,
            start: Instant::now(),
            pause: (!pause.is_zero()).then(|| Box::pin(sleep(pause))),
            looked: true,
        };
        if body.left == 0 {
            sent.whole.store(true, Relaxed);
        }
        let header = self.sha1.map_or(AT_END.to_owned(), |sha1| sha1.to_string());
        (body, sent, header)
    }
}

/// How far a body is; the sender looks at it from outside.
#[derive(Debug, Default)]
pub(super) struct Sent {
    /// Content bytes taken by the connection.
    bytes: AtomicU64,
    /// Milliseconds from the body's start to its last frame.
    millis: AtomicU64,
    whole: AtomicBool,
    /// Our own limit holds the next frame up now, and has held up others for so many milliseconds.
    throttled: AtomicBool,
    throttled_millis: AtomicU64,
    sha1: OnceLock<Sha1>,
}

impl Sent {
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// Everything was taken: B2 may have it all.
    pub(super) fn whole(&self) -> bool {
        self.whole.load(Relaxed)
    }

    /// Whether so much was taken that the other end must have read some of it.
    pub(super) fn proves_progress(&self) -> bool {
        self.bytes() > UNREAD
    }

    /// Milliseconds after the start at which the connection last took something.
    pub(super) fn last_millis(&self) -> u64 {
        self.millis.load(Relaxed)
    }

    /// Whether it is not the other end that is waited for, but our own limit.
    pub(super) fn throttled(&self) -> bool {
        self.throttled.load(Relaxed)
    }

    /// Milliseconds for which our own limit has held it up so far.
    pub(super) fn throttled_millis(&self) -> u64 {
        self.throttled_millis.load(Relaxed)
    }
}

/// A wait whose outcome is how many bytes may be sent.
type Allowed = Pin<Box<dyn Future<Output = usize> + Send + Sync>>;

/// One sending of a [`Content`].
pub(super) struct Body {
    payload: Payload,
    /// The number of the piece that comes next, and what is left of the one before.
    next: usize,
    piece: Bytes,
    hash: Option<Hasher>,
    left: u64,
    sent: Arc<Sent>,
    line: Line,
    /// The wait for our own limit that gives the length of the next frame, and since when.
    allowed: Option<(Allowed, Instant)>,
    start: Instant,
    pause: Option<Pin<Box<Sleep>>>,
    /// The connection was given a chance to look for an answer since the last frame.
    looked: bool,
}

impl Body {
    /// The length of the next frame of content, once our own limit lets it go; 0 after the last.
    fn poll_length(&mut self, context: &mut Context<'_>) -> Poll<usize> {
        if self.piece.is_empty()
            && let Some(piece) = self.payload.pieces().get(self.next)
        {
            self.piece = piece.clone();
            self.next += 1;
        }
        let length = self.piece.len().min(FRAME);
        if self.allowed.is_none() {
            let Some(most) = self.line.throttle.piece().filter(|_| length > 0) else {
                return Poll::Ready(length);
            };
            let (throttle, length) = (Arc::clone(&self.line.throttle), length.min(most));
            let wait = async move {
                throttle.take(length).await;
                length
            };
            self.allowed = Some((Box::pin(wait), Instant::now()));
        }
        let Some((wait, since)) = &mut self.allowed else {
            return Poll::Ready(length);
        };
        let Poll::Ready(length) = wait.as_mut().poll(context) else {
            self.sent.throttled.store(true, Relaxed);
            return Poll::Pending;
        };
        let waited = since.elapsed().as_millis() as u64;
        self.sent.throttled_millis.fetch_add(waited, Relaxed);
        self.sent.throttled.store(false, Relaxed);
        self.allowed = None;
        Poll::Ready(length)
    }

    fn next(&mut self, length: usize) -> Option<Bytes> {
        if length == 0 {
            let sha1 = self.hash.take()?.finish();
            let _ = self.sent.sha1.set(sha1);
            return Some(Bytes::from(sha1.to_string()));
        }
        let frame = self.piece.split_to(length);
        if let Some(hash) = &mut self.hash {
            hash.update(&frame);
        }
        self.sent.bytes.fetch_add(frame.len() as u64, Relaxed);
        self.line.bytes.fetch_add(frame.len() as u64, Relaxed);
        self.payload.taken().add(frame.len() as u64);
        Some(frame)
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let body = self.get_mut();
        if let Some(pause) = &mut body.pause {
            ready!(pause.as_mut().poll(context));
            body.pause = None;
        }
        if !body.looked && body.left > 0 {
            // hyper would send all that the kernel takes, and read only then: an answer that comes
            // before the end would be found after the connection has broken.
            body.looked = true;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let length = ready!(body.poll_length(context));
        body.looked = false;
        let Some(frame) = body.next(length) else {
            return Poll::Ready(None);
        };
        body.left -= frame.len() as u64;
        if body.left == 0 {
            body.sent.whole.store(true, Relaxed);
        }
        let millis = body.start.elapsed().as_millis() as u64;
        body.sent.millis.store(millis, Relaxed);
        body.line.pulse.beat();
        Poll::Ready(Some(Ok(Frame::data(frame))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use bytes::Bytes;
    use http_body::Body as _;
    use http_body_util::BodyExt as _;

    use super::{AT_END, Body, Content, FRAME, HASH_BEFORE, Line, Sent};
    use crate::b2::calls::Pulse;
    use crate::b2::throttle::Throttle;
    use crate::b2::{Payload, Sha1};

    fn sending(content: &Content) -> (Body, Arc<Sent>, String) {
        let line = Line {
            pulse: Pulse::new(),
            throttle: Arc::new(Throttle::new(None)),
            bytes: Arc::default(),
        };
        content.body(&line, Duration::ZERO)
    }

    fn payload(pieces: &[usize]) -> (Payload, Vec<u8>) {
        let mut payload = Payload::default();
        let mut all = Vec::new();
        for (n, len) in pieces.iter().enumerate() {
            let piece: Vec<u8> = (0..*len).map(|i| (i * 7 + n) as u8).collect();
            all.extend_from_slice(&piece);
            payload.push(Bytes::from(piece));
        }
        (payload, all)
    }

    fn sha1(bytes: &[u8]) -> Sha1 {
        use sha1::Digest as _;
        Sha1(sha1::Sha1::digest(bytes).into())
    }

    #[tokio::test]
    async fn small_content_announces_its_hash() {
        for pieces in [&[][..], &[1], &[3, 5, 1000]] {
            let (payload, all) = payload(pieces);
            let content = Content::new(payload);
            let (body, sent, header) = sending(&content);
            assert_eq!(body.size_hint().exact(), Some(all.len() as u64));
            assert_eq!(header, sha1(&all).to_string());
            assert_eq!(sent.whole(), all.is_empty());
            let out = body.collect().await.expect("infallible").to_bytes();
            assert_eq!(out, all);
            assert!(sent.whole());
            assert_eq!(sent.bytes(), all.len() as u64);
        }
    }

    #[tokio::test]
    async fn large_content_sends_its_hash_at_the_end_and_knows_it_afterwards() {
        let (payload, all) = payload(&[HASH_BEFORE as usize, FRAME + 1, 7]);
        let mut content = Content::new(payload);
        assert_eq!(content.sha1(), None);
        let (body, sent, header) = sending(&content);
        assert_eq!(header, AT_END);
        assert_eq!(body.size_hint().exact(), Some(all.len() as u64 + 40));
        let out = body.collect().await.expect("infallible").to_bytes();
        assert_eq!(out[..all.len()], all);
        assert_eq!(out[all.len()..], *sha1(&all).to_string().as_bytes());
        assert_eq!(sent.bytes(), all.len() as u64);
        content.learn(&sent);
        assert_eq!(content.sha1(), Some(sha1(&all)));
        // Sent again, the hash goes ahead.
        let (body, _, header) = sending(&content);
        assert_eq!(header, sha1(&all).to_string());
        assert_eq!(body.size_hint().exact(), Some(all.len() as u64));
    }

    #[tokio::test]
    async fn a_broken_sending_is_not_whole() {
        let (payload, _) = payload(&[HASH_BEFORE as usize + 1]);
        let mut content = Content::new(payload);
        let (mut body, sent, _) = sending(&content);
        let frame = body.frame().await.expect("a frame").expect("infallible");
        assert_eq!(frame.into_data().expect("data").len(), FRAME);
        drop(body);
        content.learn(&sent);
        assert!(!sent.whole());
        assert_eq!(content.sha1(), None);
    }
}
