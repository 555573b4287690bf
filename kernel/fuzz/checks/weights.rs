//! Any bytes as weights for regridding, as ESMF writes them: weights that fit each other, or an error.

use nuna_labels::open_weights;

pub(crate) fn check(data: &[u8]) {
    let folder = tempfile::tempdir().expect("a folder of temporary files");
    let file = folder.path().join("weights.nc");
    std::fs::write(&file, data).expect("room for a small file");
    if let Ok(weights) = open_weights(&file) {
        assert_eq!((weights.rows.len(), weights.columns.len()), (weights.values.len(), weights.values.len()));
        let cells = weights.shape.iter().try_fold(1u64, |cells, &n| cells.checked_mul(n));
        assert!(cells.is_some_and(|cells| weights.rows.iter().all(|&row| row < cells)));
    }
}
