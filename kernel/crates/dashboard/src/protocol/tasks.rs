//! Task spans as records: grouped by stage, 12 bytes each.

use super::{
    LaneSpan, TASK_BYTES,
    encode::{put_u32, put_u64, record},
};
use crate::event::{SpanKind, TaskSpan};

/// Appends `spans` grouped by stage. `lane_of` gives `None` for a worker nobody announced; its spans are left out.
pub(crate) fn encode_spans(
    out: &mut Vec<u8>,
    spans: &[TaskSpan],
    mut lane_of: impl FnMut(&TaskSpan) -> Option<u32>,
) {
    let mut by_stage = std::collections::BTreeMap::<u32, Vec<LaneSpan>>::new();
    for span in spans {
        if let Some(lane) = lane_of(span) {
            by_stage.entry(span.stage).or_default().push(LaneSpan {
                lane,
                start_us: span.start_us,
                duration_us: u64::from(span.duration_us),
                kind: span.kind,
            });
        }
    }
    for (stage, spans) in by_stage {
        encode_tasks(out, stage, &spans);
    }
}

pub(super) fn encode_tasks(out: &mut Vec<u8>, stage: u32, spans: &[LaneSpan]) {
    let Some(base) = spans.iter().map(|span| span.start_us).min() else { return };
    // 2^32 microseconds are 71 minutes; what began later than that after the base goes into another record.
    let (near, far): (Vec<&LaneSpan>, Vec<&LaneSpan>) =
        spans.iter().partition(|span| span.start_us - base <= u64::from(u32::MAX));
    record(out, 10, |out| {
        put_u32(out, stage);
        put_u32(out, near.len() as u32);
        put_u64(out, base);
        out.reserve(near.len() * TASK_BYTES);
        for span in near {
            put_u32(out, (span.start_us - base) as u32);
            put_u32(out, pack(span.kind, span.duration_us));
            put_u32(out, span.lane);
        }
    });
    if !far.is_empty() {
        encode_tasks(out, stage, &far.into_iter().copied().collect::<Vec<_>>());
    }
}

const UNIT_MS: u32 = 1 << 29;
const DURATION_MASK: u32 = UNIT_MS - 1;

fn pack(kind: SpanKind, duration_us: u64) -> u32 {
    let kind = match kind {
        SpanKind::Compute => 0,
        SpanKind::Transfer => 1,
        SpanKind::Spill => 2,
        SpanKind::Failed => 3,
    } << 30;
    if duration_us <= u64::from(DURATION_MASK) {
        kind | duration_us as u32
    } else {
        kind | UNIT_MS | (duration_us / 1000).min(u64::from(DURATION_MASK)) as u32
    }
}

pub(super) fn unpack(packed: u32) -> (SpanKind, u64) {
    let kind = match packed >> 30 {
        0 => SpanKind::Compute,
        1 => SpanKind::Transfer,
        2 => SpanKind::Spill,
        _ => SpanKind::Failed,
    };
    let value = u64::from(packed & DURATION_MASK);
    (kind, if packed & UNIT_MS == 0 { value } else { value * 1000 })
}
