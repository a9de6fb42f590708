use super::*;
use crate::transcript::Transcript;
use crate::upgrade::{self, UpgradeRequest};
use std::sync::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

const WITHIN: Duration = Duration::from_secs(10);

fn provenance() -> Provenance {
    Provenance::new("test", "none", "c", "s", "t")
}

fn recording() -> (Recorder, Recording<Vec<u8>>) {
    start(Vec::new(), &provenance(), |error| panic!("{error}")).unwrap()
}

fn finish(recording: Recording<Vec<u8>>) -> Transcript {
    let file = recording.finish(WITHIN).unwrap();
    Transcript::parse(&file).unwrap_or_else(|e| panic!("{e}\n{}", String::from_utf8_lossy(&file)))
}

fn joined(transcript: &Transcript, direction: Direction) -> Vec<u8> {
    let bytes = |event: &Event| match &event.what {
        What::Bytes(bytes) if event.direction == direction => bytes.to_vec(),
        _ => Vec::new(),
    };
    transcript.events.iter().flat_map(bytes).collect()
}

#[tokio::test]
async fn both_directions_and_vectored_writes() {
    let (recorder, recording) = recording();
    let (near, mut far) = duplex(64);
    let mut tap = Tap::client(near, recorder, b"early");
    assert!(tap.is_write_vectored(), "as the stream below");
    let bufs = [IoSlice::new(b"ab"), IoSlice::new(b""), IoSlice::new(b"cde")];
    assert_eq!(tap.write_vectored(&bufs).await.unwrap(), 5);
    tap.write_all(b"f").await.unwrap();
    // Larger than the pipe: partial writes are recorded as they are.
    let big: Vec<u8> = (0..200u8).collect();
    let (wrote, got) = tokio::join!(tap.write_all(&big), async {
        far.write_all(b"answer").await.unwrap();
        let mut got = vec![0; 206];
        far.read_exact(&mut got).await.unwrap();
        got
    });
    wrote.unwrap();
    tap.shutdown().await.unwrap();
    drop(far);
    let mut answer = Vec::new();
    tap.read_to_end(&mut answer).await.unwrap();
    assert_eq!(tap.read(&mut [0; 8]).await.unwrap(), 0);
    assert_eq!(answer, b"answer");

    let transcript = finish(recording);
    let first = |event: &Event| event.what == What::Bytes(Bytes::from_static(b"abcde"));
    assert!(transcript.events.iter().any(first), "one write, one event");
    assert_eq!(joined(&transcript, Direction::ClientToServer), got);
    assert_eq!(
        joined(&transcript, Direction::ServerToClient),
        b"earlyanswer"
    );
    let ends = |direction| {
        let is = |e: &&Event| e.direction == direction && e.what == What::End;
        transcript.events.iter().filter(is).count()
    };
    assert_eq!(ends(Direction::ClientToServer), 1);
    assert_eq!(ends(Direction::ServerToClient), 1);
}

#[tokio::test]
async fn failures_are_recorded_once_and_by_kind() {
    let (recorder, recording) = recording();
    let (near, far) = duplex(64);
    let mut tap = Tap::client(near, recorder, b"");
    drop(far);
    tap.write_all(b"x").await.unwrap_err();
    tap.write_all(b"x").await.unwrap_err();
    let transcript = finish(recording);
    let [only] = &transcript.events[..] else {
        panic!("{transcript}")
    };
    assert_eq!(only.what, What::Failed("broken pipe".to_owned()));
}

/// T36, S2: whatever the heads carry, no credential is in the file.
#[tokio::test]
async fn no_credential_is_recorded() {
    let (recorder, recording) = recording();
    let (near, mut far) = duplex(8192);
    let request = UpgradeRequest::new(
        "/pre-c4nary/api/v1/namespaces/n/pods/p/portforward?access_token=c4nary",
        "c4nary.example",
    )
    .with_field("Authorization", "Bearer c4nary")
    .with_field("Cookie", "session=c4nary")
    .with_field("Impersonate-User", "c4nary")
    .with_field(
        "Sec-WebSocket-Protocol",
        "base64url.bearer.authorization.k8s.io.c4nary",
    )
    .with_field("X-Odd", "c4nary");
    let answer = b"HTTP/1.1 101 c4nary\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\
        X-Stream-Protocol-Version: portforward.k8s.io\r\nSet-Cookie: c4nary\r\nX: c4nary\r\n\r\n\
        \x80\x03\x00\x06\x00\x00\x00\x04\x00\x00\x00\x02";
    far.write_all(answer).await.unwrap();
    let upgraded = upgrade::spdy_recorded(near, &request, recorder)
        .await
        .unwrap();
    assert_eq!(upgraded.early.len(), 12);
    drop(upgraded);
    let mut asked = vec![0; 4096];
    let n = far.read(&mut asked).await.unwrap();
    assert!(String::from_utf8_lossy(&asked[..n]).contains("Bearer c4nary"));

    let file = String::from_utf8(recording.finish(WITHIN).unwrap()).unwrap();
    assert!(!file.contains("c4nary"), "{file}");
    for word in ["uthorization", "ookie", "earer", "mpersonate"] {
        assert!(!file.contains(word), "{word}: {file}");
    }
    assert!(
        file.contains("s>c") && file.contains("| upgrade: SPDY/3.1\n"),
        "{file}"
    );
    assert!(
        file.contains("# PING 2\n"),
        "what came behind the head: {file}"
    );
    Transcript::parse(file.as_bytes()).unwrap();
}

/// Takes so many bytes, then the disk is full.
struct Full(usize);

impl Write for Full {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0 = self
            .0
            .checked_sub(buf.len())
            .ok_or(io::ErrorKind::StorageFull)?;
        Ok(buf.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// S2: the recording ends with one message, the connection does not.
#[tokio::test]
async fn a_full_disk_ends_the_recording_only() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let note = Arc::clone(&told);
    let (recorder, recording) = start(Full(1000), &provenance(), move |error| {
        note.lock().unwrap().push(error.to_string());
    })
    .unwrap();
    let (near, mut far) = duplex(1 << 20);
    let mut tap = Tap::client(near, recorder.clone(), b"");
    let began = Instant::now();
    while !recorder.is_over() {
        assert!(began.elapsed() < WITHIN, "never ended");
        tap.write_all(b"0123456789").await.unwrap();
        far.read_exact(&mut [0; 10]).await.unwrap();
        tokio::task::yield_now().await;
    }
    tap.write_all(b"goes on").await.unwrap();
    let mut got = [0; 7];
    far.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"goes on");
    assert!(matches!(
        recording.finish(WITHIN),
        Err(RecordError::Write(_))
    ));
    assert_eq!(told.lock().unwrap().len(), 1, "{:?}", told.lock().unwrap());
}

#[test]
fn a_full_disk_at_the_start_ends_the_recording_only() {
    let told = Arc::new(Mutex::new(0));
    let count = Arc::clone(&told);
    let failed = move |_: &RecordError| *count.lock().unwrap() += 1;
    let (recorder, recording) = start(Full(10), &provenance(), failed).unwrap();
    let began = Instant::now();
    while !recorder.is_over() {
        assert!(began.elapsed() < WITHIN, "never ended");
        std::thread::yield_now();
    }
    recorder.bytes(Direction::ClientToServer, b"goes on");
    assert!(matches!(
        recording.finish(WITHIN),
        Err(RecordError::Write(_))
    ));
    assert_eq!(*told.lock().unwrap(), 1);
}

/// Waits for the gate to be opened.
struct Slow(Receiver<()>, bool);

impl Write for Slow {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if std::mem::replace(&mut self.1, true) {
            // An error once the gate is gone.
            self.0.recv().ok();
        }
        Ok(buf.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The queue is bounded at 8 MiB, and a writer that hangs holds nobody.
#[test]
fn a_slow_disk_ends_the_recording_only() {
    let (gate, wait) = channel();
    let (tell, told) = channel();
    let (recorder, recording) = start(Slow(wait, false), &provenance(), move |error| {
        tell.send(error.to_string()).unwrap();
    })
    .unwrap();
    let piece = vec![0; (1 << 20) - OVERHEAD];
    for _ in 0..8 {
        recorder.bytes(Direction::ClientToServer, &piece);
    }
    assert!(!recorder.is_over(), "8 MiB fit");
    recorder.bytes(Direction::ClientToServer, b"x");
    assert!(recorder.is_over());
    recorder.bytes(Direction::ClientToServer, b"x");
    assert!(matches!(
        recording.finish(Duration::from_millis(20)),
        Err(RecordError::Stuck)
    ));
    drop(gate);
    let text = told.recv_timeout(WITHIN).unwrap();
    assert!(text.contains("slower than the connection"), "{text}");
}

/// What is written can be read back, up to its limit.
#[test]
fn too_large_a_transcript_ends() {
    let (tell, told) = channel();
    let (recorder, recording) = start(io::sink(), &provenance(), move |error| {
        tell.send(error.to_string()).unwrap();
    })
    .unwrap();
    let piece = vec![0; 1 << 20];
    let mut pieces = 0;
    while !recorder.is_over() {
        recorder.bytes(Direction::ServerToClient, &piece);
        pieces += 1;
        assert!(pieces <= 40, "never ended");
        while recorder.0.queued.load(Ordering::Relaxed) > 0 && !recorder.is_over() {
            std::thread::yield_now();
        }
    }
    assert_eq!(pieces, 32, "2 characters a byte");
    let text = told.recv_timeout(WITHIN).unwrap();
    assert!(text.contains("64 MiB at most"), "{text}");
    assert!(matches!(
        recording.finish(WITHIN),
        Err(RecordError::TooLarge)
    ));
}
