//! An interrupt is a matter of the whole process, so it has a test program of its own.

use std::sync::Arc;

use nuna_array::{Array, Chunk, DType, MapBlocks, ThreadEngine};
use nuna_plan::Engine;

#[test]
fn an_interrupt_ends_a_computation() {
    let engine: Arc<dyn Engine> = Arc::new(ThreadEngine::new(2));
    let options = MapBlocks { name: "wait".to_owned(), dtype: DType::F64, chunks: None };
    let blocks = Array::from_chunk_in(Chunk::full(DType::F64, &[200], 1.into()), &[1]).unwrap();
    let slow = blocks.map_blocks(options, |block| {
        nuna_array::interrupt();
        // Long enough that two threads cannot run all 200 blocks before the interrupt is noticed.
        std::thread::sleep(std::time::Duration::from_millis(50));
        Ok(block.inputs[0].clone())
    });
    let error = slow.unwrap().compute_with(&engine).unwrap_err().to_string();
    assert!(error.contains("cancelled"), "{error}");
}
