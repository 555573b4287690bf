//! Bytes to records, as a viewer written in Rust reads them; the layouts are documented in `protocol.rs`.

use super::{
    ComputationState, LaneSpan, ProtocolError, Record, Sample, StageProgress, Totals, WorkerState,
    tasks::unpack,
};

impl Record {
    /// Every record of one message; unknown kinds are skipped.
    ///
    /// # Errors
    /// If a record is shorter than its layout or its text is not where it should be.
    pub fn decode_all(message: &[u8]) -> Result<Vec<Self>, ProtocolError> {
        let mut records = Vec::new();
        let mut rest = message;
        while !rest.is_empty() {
            let mut header = Reader { kind: rest[0], bytes: rest };
            header.take(4)?;
            let length = header.u32()? as usize;
            let mut payload = Reader { kind: rest[0], bytes: header.take(length)? };
            rest = header.bytes;
            if let Some(record) = Self::decode(&mut payload)? {
                records.push(record);
            }
        }
        Ok(records)
    }

    fn decode(r: &mut Reader<'_>) -> Result<Option<Self>, ProtocolError> {
        Ok(Some(match r.kind {
            1 => {
                let version = r.u16()?;
                r.take(6)?;
                Self::Hello { version, started_unix_ms: r.u64()?, now_us: r.u64()?, name: r.text()? }
            }
            2 => Self::Reset { spans_skipped: r.u64()? },
            3 => Self::Clock { now_us: r.u64()?, spans_dropped: r.u64()? },
            4 => {
                let (worker, first_lane, threads) = (r.u32()?, r.u32()?, r.u16()?);
                let state = match r.take(6)?[0] {
                    0 => WorkerState::Here,
                    1 => WorkerState::Left,
                    2 => WorkerState::Lost,
                    value => return Err(ProtocolError::Unknown { kind: r.kind, field: "state", value }),
                };
                Self::Worker { worker, first_lane, threads, state, memory_limit: r.u64()?, name: r.text()? }
            }
            5 => {
                let computation = r.u32()?;
                let state = match r.take(4)?[0] {
                    0 => ComputationState::Running,
                    1 => ComputationState::Succeeded,
                    2 => ComputationState::Failed,
                    3 => ComputationState::Cancelled,
                    value => return Err(ProtocolError::Unknown { kind: r.kind, field: "state", value }),
                };
                Self::Computation {
                    computation,
                    state,
                    started_us: r.u64()?,
                    finished_us: r.u64()?,
                    label: r.text()?,
                }
            }
            6 => Self::Stage {
                stage: r.u32()?,
                computation: r.u32()?,
                blocks: r.u64()?,
                started_us: r.u64()?,
                name: r.text()?,
            },
            7 => Self::Progress(r.many(|r| {
                let stage = r.u32()?;
                r.take(4)?;
                Ok(StageProgress {
                    stage,
                    done: r.u64()?,
                    failed: r.u64()?,
                    busy_us: r.u64()?,
                    last_us: r.u64()?,
                })
            })?),
            8 => Self::Samples(r.many(|r| {
                let (worker, cpu_permille, threads_busy) = (r.u32()?, r.u32()?, r.u16()?);
                r.take(6)?;
                Ok(Sample {
                    worker,
                    cpu_permille,
                    threads_busy,
                    managed_bytes: r.u64()?,
                    spilled_bytes: r.u64()?,
                    rss_bytes: r.u64()?,
                })
            })?),
            9 => Self::Totals(r.many(|r| {
                Ok(Totals {
                    at_us: r.u64()?,
                    managed_bytes: r.u64()?,
                    spilled_bytes: r.u64()?,
                    rss_bytes: r.u64()?,
                    limit_bytes: r.u64()?,
                    tasks: r.u64()?,
                    cpu_permille: r.u32()?,
                    threads_busy: r.u32()?,
                })
            })?),
            10 => {
                let (stage, _count, base) = (r.u32()?, r.u32()?, r.u64()?);
                let spans = r.many(|r| {
                    let start_us = base + u64::from(r.u32()?);
                    let (kind, duration_us) = unpack(r.u32()?);
                    Ok(LaneSpan { lane: r.u32()?, start_us, duration_us, kind })
                })?;
                Self::Tasks { stage, spans }
            }
            11 => Self::Failure {
                at_us: r.u64()?,
                block: r.u64()?,
                stage: r.u32()?,
                worker: r.u32()?,
                message: r.text()?,
            },
            _ => return Ok(None),
        }))
    }
}

struct Reader<'a> {
    kind: u8,
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, need: usize) -> Result<&'a [u8], ProtocolError> {
        if self.bytes.len() < need {
            return Err(ProtocolError::Truncated { kind: self.kind, have: self.bytes.len(), need });
        }
        let (taken, rest) = self.bytes.split_at(need);
        self.bytes = rest;
        Ok(taken)
    }

    fn u16(&mut self) -> Result<u16, ProtocolError> {
        Ok(u16::from_le_bytes(self.take(2)?.try_into().expect("take gives two bytes")))
    }

    fn u32(&mut self) -> Result<u32, ProtocolError> {
        Ok(u32::from_le_bytes(self.take(4)?.try_into().expect("take gives four bytes")))
    }

    fn u64(&mut self) -> Result<u64, ProtocolError> {
        Ok(u64::from_le_bytes(self.take(8)?.try_into().expect("take gives eight bytes")))
    }

    fn text(&mut self) -> Result<String, ProtocolError> {
        let length = usize::from(self.u16()?);
        Ok(String::from_utf8_lossy(self.take(length)?).into_owned())
    }

    fn many<T>(
        &mut self,
        mut one: impl FnMut(&mut Self) -> Result<T, ProtocolError>,
    ) -> Result<Vec<T>, ProtocolError> {
        let mut all = Vec::new();
        while !self.bytes.is_empty() {
            all.push(one(self)?);
        }
        Ok(all)
    }
}
