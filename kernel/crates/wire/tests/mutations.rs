//! Frames and messages of every kind, damaged in every way: what comes out is a message or an error, never a panic.
//! The same parsers are fuzzed at length by the targets in `kernel/fuzz`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use bytes::Bytes;
use nuna_plan::{
    AxisMap, BlockGrid, BlockMap, EngineError, HeldId, Input, Keep, LibraryId, MemoryBound, Origin, Plan,
    Source, Splits, Stage, TaskError, Value, Work, WorkKind,
};
use nuna_wire::{
    ClusterFile, Credentials, FrameReader, FrameWriter, Limits, Payload, StageKey, WorkerId, message::*,
    payload::unpack,
};
use serde::{Serialize, de::DeserializeOwned};

const ROUNDS: u64 = 3_000;
const LIMITS: Limits = Limits { header_bytes_max: 1 << 20, payload_bytes_max: 1 << 20 };

fn stage() -> Stage {
    let axes = vec![
        AxisMap::All,
        AxisMap::Fixed { start: 1, end: 2 },
        AxisMap::Along { axis: 0, offset: -1 },
        AxisMap::Group { axis: 1, size: 3 },
        AxisMap::Overlap {
            axis: 1,
            output: Splits::Regular { chunk: 3, length: 10 },
            input: Splits::Listed { bounds: vec![0, 5, 10] },
        },
    ];
    let map = BlockMap::Axes { input_grid: BlockGrid::new([2, 3, 4, 5, 2]), axes };
    Stage {
        name: "mean(time)".into(),
        grid: BlockGrid::new([3, 4]),
        inputs: vec![
            Input { source: Source::Stage(0), map },
            Input { source: Source::Held(HeldId(7)), map: BlockMap::Same },
        ],
        work: Work { kind: WorkKind::Call, payload: vec![1, 2, 3], libraries: vec![LibraryId([9; 32])] },
        bound: MemoryBound { inputs: 1, output: 2, scratch: 3 },
        keep: Keep::Deliver,
        retries: 2,
        origin: Some(Origin { cell: 3, line: 4 }),
    }
}

fn from_client() -> Vec<FromClient> {
    let plan =
        Box::new(Plan { label: "plan".into(), stages: vec![stage(), stage()], terms: Default::default() });
    let publish =
        Ask::Publish { name: "a".into(), summary: "b".into(), about: vec![1; 30], held: vec![HeldId(1)] };
    vec![
        FromClient::Library(LibraryId([1; 32])),
        FromClient::Submit { submission: 1, plan },
        FromClient::Cancel { submission: 1 },
        FromClient::Release(HeldId(3)),
        FromClient::Received { submission: 1, stage: 0, blocks: vec![1, 2, 300] },
        FromClient::Missing { submission: 1, stage: 0, block: 5, worker: WorkerId(3) },
        FromClient::Consumed { bytes: 1 << 40 },
        FromClient::Heartbeat,
        FromClient::Ask { request: 4, ask: publish },
        FromClient::Ask { request: 5, ask: Ask::List },
        FromClient::Return(ClientReturn {
            held: vec![(HeldId(3), 2)],
            submissions: vec![ReturningSubmission {
                submission: 4,
                received: vec![(1, vec![(0, 7), (9, 300)])],
            }],
        }),
    ]
}

fn to_client() -> Vec<ToClient> {
    let error =
        EngineError::Task { task: "a[1]".into(), worker: "w".into(), cell: Some(3), message: "no".into() };
    vec![
        ToClient::Delivered { submission: 1, stage: 0, blocks: vec![4], shapes: vec![shape()] },
        ToClient::Available {
            submission: 1,
            stage: 0,
            key: StageKey(8),
            block: 9,
            bytes: 1 << 31,
            worker: WorkerId(2),
            address: "[::1]:80".parse().unwrap(),
        },
        ToClient::Progress { submission: 1, done: 5, total: 9, stages: vec![3, 2], read_bytes: 8 },
        ToClient::Finished { submission: 1, read_bytes: 4 },
        ToClient::Failed { submission: 1, error },
        ToClient::Cluster(ClusterInfo::default()),
        ToClient::Returned { unknown: vec![3, 400] },
        ToClient::Told {
            request: 3,
            told: Told::Found { summary: "a".into(), about: vec![0], held: vec![HeldId(2)] },
        },
    ]
}

fn to_worker() -> Vec<ToWorker> {
    let blocks = Blocks { stage: StageKey(4), start: 5, end: 900 };
    let definition = StageDefinition {
        key: StageKey(1),
        stage: stage(),
        inputs: vec![StageKey(0)],
        retain: true,
        priority: 3,
    };
    vec![
        ToWorker::Peers(vec![(WorkerId(1), "127.0.0.1:80".parse().unwrap())]),
        ToWorker::Define(Box::new(definition)),
        ToWorker::Lease { blocks, inputs: vec![Located { blocks, worker: WorkerId(2) }] },
        ToWorker::Forget(vec![blocks]),
        ToWorker::Adopt { blocks, from: WorkerId(9), bytes: 1 << 33 },
        ToWorker::Drop(vec![StageKey(3)]),
        ToWorker::Reclaim { stage: StageKey(1), count: 4 },
        ToWorker::Library(LibraryId([3; 32])),
        ToWorker::Drain,
    ]
}

fn from_worker() -> Vec<FromWorker> {
    let error = TaskError { message: "the store does not answer".into(), retryable: true };
    let completed = Completed {
        block: 70_000,
        bytes: 800,
        start_us: 1 << 40,
        duration_us: 17,
        thread: 3,
        read_bytes: 1 << 20,
        inline: Some(shape()),
    };
    let span = Span { stage: StageKey(1), block: 4, start_us: 5, duration_us: 6, kind: SpanKind::Transfer };
    vec![
        FromWorker::Completed(vec![(StageKey(4), vec![completed.clone(), completed])]),
        FromWorker::Failed { stage: StageKey(1), block: 2, error },
        FromWorker::InputMissing {
            stage: StageKey(2),
            block: 3,
            input: StageKey(1),
            input_block: 400,
            worker: WorkerId(5),
        },
        FromWorker::Unreachable { worker: WorkerId(6), error: "no route to host".into() },
        FromWorker::Spans(vec![span]),
        FromWorker::Lasts { ms: 7_200_000 },
        FromWorker::Draining { reason: "its job ends soon".into() },
        FromWorker::Adopted { stage: StageKey(1), runs: vec![(0, 3), (70, 900)] },
        FromWorker::NotAdopted { stage: StageKey(1), runs: vec![(3, 70)] },
        FromWorker::Reclaimed { stage: StageKey(1), runs: vec![(1, 2), (5, 90)] },
        FromWorker::Sample(Sample::default()),
        FromWorker::Leaving { reason: "walltime".into() },
        FromWorker::Return(WorkerReturn {
            stages: vec![StageKey(1)],
            stored: vec![(Blocks { stage: StageKey(1), start: 0, end: 900 }, 4096)],
            copies: vec![StageKey(2)],
            leased: vec![Blocks { stage: StageKey(1), start: 900, end: 1000 }],
        }),
    ]
}

fn shared() -> nuna_wire::message::Shared {
    nuna_wire::message::Shared { descriptor: 3, inode: 1 << 40, length: 1 << 20 }
}

fn shape() -> nuna_wire::ValueShape {
    nuna_wire::ValueShape { header: 3, body: 5 }
}

/// Numbers that follow from a seed.
struct Noise(u64);

impl Noise {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below.max(1) as u64) as usize
    }

    fn damage(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.next(4) {
            let at = self.next(bytes.len());
            match self.next(6) {
                0 => bytes.truncate(at),
                1 if !bytes.is_empty() => bytes[at] ^= 1 << self.next(8),
                2 if !bytes.is_empty() => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][self.next(5)],
                3 => bytes.insert(at, self.next(256) as u8),
                4 => {
                    let piece: Vec<u8> = bytes[at..].iter().take(16).copied().collect();
                    let to = self.next(bytes.len());
                    bytes.splice(to..to, piece);
                }
                // A number as long as numbers get.
                _ => drop(bytes.splice(at..at, [0xff; 9])),
            }
        }
    }
}

async fn encoded<M: Serialize>(message: &M) -> Vec<u8> {
    let mut payload = Payload::new();
    payload.push(&Value { header: Bytes::from_static(b"abc"), body: Bytes::from_static(b"defgh") });
    let mut bytes = Vec::new();
    let mut writer = FrameWriter::new(&mut bytes);
    writer.write(message, payload).await.unwrap();
    writer.flush().await.unwrap();
    bytes
}

/// Messages as they are come back; damaged ones are errors or other messages.
async fn try_all<M: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(messages: Vec<M>) {
    for (number, message) in messages.iter().enumerate() {
        let whole = encoded(message).await;
        let (back, payload) = FrameReader::new(whole.as_slice(), LIMITS).read::<M>().await.unwrap().unwrap();
        assert_eq!(&back, message);
        assert_eq!(unpack(&payload, [shape()]).unwrap().len(), 1);
        let mut refused = 0;
        for round in 0..ROUNDS {
            let mut noise = Noise(round * 1_000 + number as u64 + 1);
            let mut bytes = whole.clone();
            // The prelude is mostly left alone, so that what is behind it is read.
            if round % 4 == 0 {
                noise.damage(&mut bytes);
            } else {
                let mut header = bytes.split_off(16);
                noise.damage(&mut header);
                let payload_bytes = payload.len().min(header.len());
                let header_bytes = header.len() - payload_bytes;
                bytes[4..8].copy_from_slice(&(header_bytes as u32).to_le_bytes());
                bytes[8..16].copy_from_slice(&(payload_bytes as u64).to_le_bytes());
                bytes.extend(header);
            }
            match FrameReader::new(bytes.as_slice(), LIMITS).read::<M>().await {
                Ok(Some((_, payload))) => drop(unpack(&payload, [shape()])),
                Ok(None) => {}
                Err(_) => refused += 1,
            }
        }
        assert!(refused > 0, "{message:?}: no damage was noticed");
    }
}

#[tokio::test]
async fn damaged_messages_are_errors_or_other_messages() {
    try_all(from_client()).await;
    try_all(to_client()).await;
    try_all(to_worker()).await;
    try_all(from_worker()).await;
    try_all(vec![Greeting { protocol: PROTOCOL, build: "build".into() }]).await;
    try_all(vec![Fetch { items: vec![(StageKey(3), 1 << 50); 3], shares: true }]).await;
    try_all(vec![Fetched { shapes: vec![None, Some(shape())], shared: vec![(1, shared())] }]).await;
}

#[test]
fn damaged_credentials_and_cluster_files_are_errors() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path().join("certificates");
    let authority = nuna_wire::Authority::new("test").unwrap();
    authority.issue(nuna_wire::Party::Client).unwrap().write(&folder, nuna_wire::Party::Client).unwrap();
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let pem = [read("authority.pem"), read("client.pem"), read("client.key")];
    assert!(Credentials::from_pem(pem[0].clone(), pem[1].clone(), pem[2].clone()).is_ok());
    for round in 0..ROUNDS {
        let mut damaged = pem.clone();
        let mut bytes = std::mem::take(&mut damaged[(round % 3) as usize]).into_bytes();
        Noise(round + 1).damage(&mut bytes);
        damaged[(round % 3) as usize] = String::from_utf8_lossy(&bytes).into_owned();
        let [authority, certificate, key] = damaged;
        if let Ok(credentials) = Credentials::from_pem(authority, certificate, key) {
            let _ = (credentials.client_config(), credentials.server_config());
        }
    }
    let text = br#"{"name":"a","scheduler":"127.0.0.1:1","dashboard":"","token":"t","pid":3,"started":"","origin":"","certificates":"/a"}"#;
    assert!(serde_json::from_slice::<ClusterFile>(text).is_ok());
    for round in 0..ROUNDS {
        let mut bytes = text.to_vec();
        Noise(round + 1).damage(&mut bytes);
        let _ = serde_json::from_slice::<ClusterFile>(&bytes);
    }
}
