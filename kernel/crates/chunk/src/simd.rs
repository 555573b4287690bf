//! Owns the choice of vector width: hot loops are compiled twice, for the baseline and for AVX2, and the processor
//! decides. Neither version contracts or reorders arithmetic, so results do not depend on it.
#![expect(unsafe_code, reason = "calling code compiled for processor features found at run time")]

/// Runs `body` compiled for the widest vectors here. `body` must be a short loop that inlines.
#[inline(always)]
pub(crate) fn widest<R>(body: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the feature was just found.
        return unsafe { with_avx2(body) };
    }
    body()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn with_avx2<R>(body: impl FnOnce() -> R) -> R {
    body()
}
