//! Owns running a program over chunks: operands that broadcast are spread into tiles, the others are read in place,
//! and the last instruction writes straight into the result.

use smallvec::SmallVec;

use crate::{
    assemble::strides,
    buffer::Buffer,
    cast,
    chunk::{Chunk, ChunkMut},
    dtype::DType,
    error::ChunkError,
    region::Shape,
    tile::{
        TILE,
        kernels::{self, BinaryKernel, SelectKernel, UnaryKernel},
        program::{Instruction, Program, ValueId},
    },
};

/// Where a value is while a tile is computed.
#[derive(Clone, Copy)]
enum Place {
    /// Input `i`, in place.
    Input(usize),
    /// A scratch tile.
    Scratch(usize),
    /// The result's own memory.
    Output,
}

enum Step {
    Unary(UnaryKernel, ValueId),
    Binary(BinaryKernel, ValueId, ValueId),
    Select(SelectKernel, ValueId, ValueId, ValueId),
}

/// An input that does not have the result's shape: how to spread it.
struct Spread {
    /// Strides in elements, 0 along repeated axes.
    strides: SmallVec<[usize; 6]>,
    scratch: usize,
}

impl Program {
    /// Runs the program on `inputs`, which broadcast to `shape`.
    ///
    /// # Errors
    /// If the inputs' dtypes are not those the program was built for, or an operation is undefined.
    ///
    /// # Panics
    /// If an input does not broadcast to `shape`; expressions check it when built.
    pub fn run(&self, shape: &[u64], inputs: &[Chunk]) -> Result<Chunk, ChunkError> {
        for (index, &asked) in self.inputs.iter().enumerate() {
            let found = inputs[index].dtype();
            if found != asked {
                return Err(ChunkError::DType { asked, found });
            }
        }
        if let Some(input) = inputs.get(self.output.0 as usize) {
            return Ok(input.broadcast_to(shape));
        }
        let mut out = ChunkMut::new(self.dtype, shape);
        let len = shape.iter().product::<u64>() as usize;
        if len > 0 {
            Machine::new(self, shape, inputs)?.run(len, self.dtype.size(), out.bytes_mut());
        }
        Ok(out.freeze())
    }
}

struct Machine<'a> {
    program: &'a Program,
    inputs: &'a [Chunk],
    shape: Shape,
    places: Vec<Place>,
    spreads: Vec<Option<Spread>>,
    steps: Vec<(Step, usize)>,
    scratch: Vec<Buffer>,
}

impl<'a> Machine<'a> {
    fn new(program: &'a Program, shape: &[u64], inputs: &'a [Chunk]) -> Result<Self, ChunkError> {
        let input_count = program.inputs.len();
        let value_count = input_count + program.instructions.len();
        let last_use = last_uses(program);
        let mut places = Vec::with_capacity(value_count);
        let mut spreads = Vec::with_capacity(input_count);
        let mut scratch = Vec::new();
        let values = (0..value_count).map(|value| program.dtype_of(ValueId(value as u32)).size());
        let widest = values.max().unwrap_or(0).max(8);
        // Widths differ, but the widest fits everything and the count is small.
        let new_tile = |scratch: &mut Vec<Buffer>| {
            scratch.push(Buffer::zeroed(TILE * widest));
            scratch.len() - 1
        };
        for input in inputs.iter().take(input_count) {
            if input.shape() == shape {
                places.push(Place::Input(spreads.len()));
                spreads.push(None);
            } else {
                let tile = new_tile(&mut scratch);
                places.push(Place::Scratch(tile));
                spreads.push(Some(Spread { strides: spread_strides(input.shape(), shape), scratch: tile }));
            }
        }
        let mut steps = Vec::new();
        let mut free: Vec<usize> = Vec::new();
        for (index, instruction) in program.instructions.iter().enumerate() {
            let value = input_count + index;
            if let Instruction::Constant { value: constant, dtype } = *instruction {
                // Constants are written once and keep their tile.
                let tile = new_tile(&mut scratch);
                fill(&mut scratch[tile], constant, dtype);
                places.push(Place::Scratch(tile));
                continue;
            }
            let (step, operands) = step(instruction)?;
            let place = if value == program.output.0 as usize {
                Place::Output
            } else {
                Place::Scratch(free.pop().unwrap_or_else(|| new_tile(&mut scratch)))
            };
            places.push(place);
            steps.push((step, value));
            // Only results of instructions give their tile back; those of spread inputs and constants stay.
            for (position, operand) in operands.iter().enumerate() {
                let o = operand.0 as usize;
                let is_result = o >= input_count
                    && !matches!(program.instructions[o - input_count], Instruction::Constant { .. });
                if is_result
                    && last_use[o] == index
                    && !operands[..position].contains(operand)
                    && let Place::Scratch(tile) = places[o]
                {
                    free.push(tile);
                }
            }
        }
        Ok(Self { program, inputs, shape: shape.into(), places, spreads, steps, scratch })
    }

    fn run(&mut self, len: usize, out_size: usize, out: &mut [u8]) {
        if self.steps.is_empty() {
            // The output is a constant.
            let Place::Scratch(tile) = self.places[self.program.output.0 as usize] else {
                unreachable!("an output that is an input was returned before")
            };
            for start in (0..len).step_by(TILE) {
                let count = TILE.min(len - start) * out_size;
                out[start * out_size..][..count].copy_from_slice(&self.scratch[tile].as_slice()[..count]);
            }
            return;
        }
        for start in (0..len).step_by(TILE) {
            let count = TILE.min(len - start);
            for (input, spread) in self.inputs.iter().zip(&self.spreads) {
                if let Some(spread) = spread {
                    let tile = &mut self.scratch[spread.scratch];
                    spread_into(input, &spread.strides, &self.shape, start, count, tile.as_mut_slice());
                }
            }
            let out = &mut out[start * out_size..(start + count) * out_size];
            for (step, value) in &self.steps {
                let size = self.dtype(*value).size();
                match self.places[*value] {
                    Place::Output => Self::step(
                        self.program,
                        self.inputs,
                        &self.places,
                        &self.scratch,
                        step,
                        start,
                        count,
                        out,
                    ),
                    Place::Scratch(tile) => {
                        // Taken out while it is written, since the operands are read from its neighbours.
                        let mut to = std::mem::replace(&mut self.scratch[tile], Buffer::new(0));
                        let slice = &mut to.as_mut_slice()[..count * size];
                        Self::step(
                            self.program,
                            self.inputs,
                            &self.places,
                            &self.scratch,
                            step,
                            start,
                            count,
                            slice,
                        );
                        self.scratch[tile] = to;
                    }
                    Place::Input(_) => unreachable!("results are not inputs"),
                }
            }
        }
    }

    fn dtype(&self, value: usize) -> DType {
        self.program.dtype_of(ValueId(value as u32))
    }

    fn step(
        program: &Program,
        inputs: &[Chunk],
        places: &[Place],
        scratch: &[Buffer],
        step: &Step,
        start: usize,
        count: usize,
        out: &mut [u8],
    ) {
        let operand = |value: &ValueId| -> &[u8] {
            let size = program.dtype_of(*value).size();
            match places[value.0 as usize] {
                Place::Input(input) => &inputs[input].bytes()[start * size..(start + count) * size],
                Place::Scratch(tile) => &scratch[tile].as_slice()[..count * size],
                Place::Output => unreachable!("the output is written last"),
            }
        };
        match step {
            Step::Unary(kernel, a) => kernel(operand(a), out),
            Step::Binary(kernel, a, b) => kernel(operand(a), operand(b), out),
            Step::Select(kernel, a, b, c) => kernel(operand(a), operand(b), operand(c), out),
        }
    }
}

impl Program {
    fn dtype_of(&self, value: ValueId) -> DType {
        let index = value.0 as usize;
        if let Some(dtype) = self.inputs.get(index) {
            return *dtype;
        }
        match self.instructions[index - self.inputs.len()] {
            Instruction::Constant { dtype, .. } | Instruction::Where { dtype, .. } => dtype,
            Instruction::Cast { to, .. } => to,
            Instruction::Unary { op, dtype, .. } => op.dtypes(dtype).map_or(dtype, |(_, out)| out),
            Instruction::Binary { op, dtype, .. } => op.dtypes(dtype).map_or(dtype, |(_, out)| out),
        }
    }
}

/// For each value, the number of the last instruction that reads it.
fn last_uses(program: &Program) -> Vec<usize> {
    let mut last = vec![0; program.inputs.len() + program.instructions.len()];
    for (index, instruction) in program.instructions.iter().enumerate() {
        let operands: SmallVec<[ValueId; 3]> = match *instruction {
            Instruction::Constant { .. } => SmallVec::new(),
            Instruction::Cast { a, .. } | Instruction::Unary { a, .. } => SmallVec::from_slice(&[a]),
            Instruction::Binary { a, b, .. } => SmallVec::from_slice(&[a, b]),
            Instruction::Where { a, b, c, .. } => SmallVec::from_slice(&[a, b, c]),
        };
        for operand in operands {
            last[operand.0 as usize] = index;
        }
    }
    // The output must not be overwritten by a later, unused instruction.
    last[program.output.0 as usize] = usize::MAX;
    last
}

fn step(instruction: &Instruction) -> Result<(Step, SmallVec<[ValueId; 3]>), ChunkError> {
    Ok(match *instruction {
        Instruction::Constant { .. } => unreachable!("constants have no step"),
        Instruction::Cast { from, to, a } => {
            (Step::Unary(kernels::cast(from, to)?, a), SmallVec::from_slice(&[a]))
        }
        Instruction::Unary { op, dtype, a } => {
            (Step::Unary(kernels::unary(op, dtype)?, a), SmallVec::from_slice(&[a]))
        }
        Instruction::Binary { op, dtype, a, b } => {
            (Step::Binary(kernels::binary(op, dtype)?, a, b), SmallVec::from_slice(&[a, b]))
        }
        Instruction::Where { dtype, a, b, c } => {
            (Step::Select(kernels::select(dtype), a, b, c), SmallVec::from_slice(&[a, b, c]))
        }
    })
}

fn fill(tile: &mut Buffer, value: crate::Scalar, dtype: DType) {
    let one = cast::scalar_bytes(value, dtype);
    for to in tile.as_mut_slice()[..TILE * dtype.size()].chunks_exact_mut(dtype.size()) {
        to.copy_from_slice(one.as_slice());
    }
}

fn spread_strides(from: &[u64], to: &[u64]) -> SmallVec<[usize; 6]> {
    let own = strides(from);
    let extra = to.len() - from.len();
    (0..to.len())
        .map(|axis| match axis.checked_sub(extra) {
            Some(i) if from[i] != 1 => {
                assert_eq!(from[i], to[axis], "an operand of shape {from:?} in a result of shape {to:?}");
                own[i]
            }
            _ => 0,
        })
        .collect()
}

/// Writes elements `start..start + count` (in C order of `shape`) of a broadcast input into a tile.
fn spread_into(input: &Chunk, strides: &[usize], shape: &[u64], start: usize, count: usize, tile: &mut [u8]) {
    let size = input.dtype().size();
    let bytes = input.bytes();
    // Trailing axes along which the input repeats wholly, or runs on contiguously, make one run.
    let (mut run, mut axes) = (1usize, shape.len());
    let mut repeats = None;
    while axes > 0 {
        let axis = axes - 1;
        let n = shape[axis] as usize;
        if n != 1 {
            let repeated = strides[axis] == 0;
            if repeats.is_some_and(|r| r != repeated) || (!repeated && strides[axis] != run) {
                break;
            }
            repeats = Some(repeated);
        }
        run *= n;
        axes -= 1;
    }
    let repeats = repeats.unwrap_or(false);
    let mut done = 0;
    while done < count {
        let flat = start + done;
        let (mut rest, within) = (flat / run, flat % run);
        let mut offset = if repeats { 0 } else { within };
        for axis in (0..axes).rev() {
            let n = shape[axis] as usize;
            offset += rest % n * strides[axis];
            rest /= n;
        }
        let take = (run - within).min(count - done);
        let to = &mut tile[done * size..(done + take) * size];
        if repeats {
            let one = &bytes[offset * size..(offset + 1) * size];
            for element in to.chunks_exact_mut(size) {
                element.copy_from_slice(one);
            }
        } else {
            to.copy_from_slice(&bytes[offset * size..(offset + take) * size]);
        }
        done += take;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Scalar,
        tile::{Binary, Builder, Unary},
    };

    #[test]
    fn a_chain_runs_without_temporaries_over_several_tiles() {
        let n = 3 * TILE + 17;
        let red: Vec<f32> = (0..n).map(|i| i as f32).collect();
        let nir: Vec<f32> = (0..n).map(|i| (i * 2 + 1) as f32).collect();
        let mut b = Builder::new();
        let (r, i) = (b.input(DType::F32), b.input(DType::F32));
        let difference = b.binary(Binary::Sub, DType::F32, i, r).unwrap();
        let sum = b.binary(Binary::Add, DType::F32, i, r).unwrap();
        let ratio = b.binary(Binary::Div, DType::F32, difference, sum).unwrap();
        let half = b.constant(Scalar::Float(0.5), DType::F32);
        let scaled = b.binary(Binary::Mul, DType::F32, ratio, half).unwrap();
        let program = b.finish(scaled);
        let shape = [n as u64];
        let out =
            program.run(&shape, &[Chunk::from_slice(&shape, &red), Chunk::from_slice(&shape, &nir)]).unwrap();
        let expected: Vec<f32> = red.iter().zip(&nir).map(|(r, n)| (n - r) / (n + r) * 0.5).collect();
        assert_eq!(out.elements::<f32>().unwrap(), expected);
    }

    #[test]
    fn operands_broadcast() {
        let shape = [3, 700, 2];
        let whole: Vec<i64> = (0..4200).collect();
        let column: Vec<i64> = (0..700).map(|v| v * 10).collect();
        let mut b = Builder::new();
        let (x, y, z) = (b.input(DType::I64), b.input(DType::I64), b.input(DType::I64));
        let sum = b.binary(Binary::Add, DType::I64, x, y).unwrap();
        let sum = b.binary(Binary::Add, DType::I64, sum, z).unwrap();
        let program = b.finish(sum);
        let inputs = [
            Chunk::from_slice(&shape, &whole),
            Chunk::from_slice(&[700, 1], &column),
            Chunk::from_slice(&[3, 1, 2], &[1i64, 2, 3, 4, 5, 6]),
        ];
        let out = program.run(&shape, &inputs).unwrap();
        for (flat, &value) in out.elements::<i64>().unwrap().iter().enumerate() {
            let (k, j, i) = (flat / 1400, flat / 2 % 700, flat % 2);
            assert_eq!(value, flat as i64 + j as i64 * 10 + (k * 2 + i) as i64 + 1);
        }
    }

    #[test]
    fn integers_divide_as_in_python() {
        let a = Chunk::from_slice(&[6], &[7i32, -7, 7, -7, 5, i32::MIN]);
        let b = Chunk::from_slice(&[6], &[2i32, 2, -2, -2, 0, -1]);
        let run = |op| {
            let mut builder = Builder::new();
            let (x, y) = (builder.input(DType::I32), builder.input(DType::I32));
            let v = builder.binary(op, DType::I32, x, y).unwrap();
            builder.finish(v).run(&[6], &[a.clone(), b.clone()]).unwrap().to_vec::<i32>()
        };
        assert_eq!(run(Binary::FloorDiv), [3, -4, -4, 3, 0, i32::MIN]);
        assert_eq!(run(Binary::Rem), [1, 1, -1, -1, 0, 0]);
    }

    #[test]
    fn nans_are_kept_and_found() {
        let x = Chunk::from_slice(&[4], &[1.0f64, f64::NAN, -0.0, f64::INFINITY]);
        let y = Chunk::from_slice(&[4], &[f64::NAN, 2.0, 3.0, 4.0]);
        let mut b = Builder::new();
        let (a, c) = (b.input(DType::F64), b.input(DType::F64));
        let low = b.binary(Binary::Minimum, DType::F64, a, c).unwrap();
        let nan = b.unary(Unary::IsNan, low).unwrap();
        let out = b.finish(nan).run(&[4], &[x.clone(), y]).unwrap();
        assert_eq!(out.elements::<bool>().unwrap(), [true, true, false, false]);
        let mut b = Builder::new();
        let a = b.input(DType::F64);
        let nan = b.unary(Unary::IsNan, a).unwrap();
        let zero = b.constant(Scalar::Int(0), DType::F64);
        let filled = b.select(DType::F64, nan, zero, a);
        assert_eq!(
            b.finish(filled).run(&[4], &[x]).unwrap().to_vec::<f64>(),
            [1.0, 0.0, -0.0, f64::INFINITY]
        );
    }

    #[test]
    fn a_value_used_twice_keeps_its_tile() {
        // (x + 1) * (x + 1) - (x + 1)
        let x = Chunk::from_slice(&[3], &[1i16, 2, 3]);
        let mut b = Builder::new();
        let a = b.input(DType::I16);
        let one = b.constant(Scalar::Int(1), DType::I16);
        let next = b.binary(Binary::Add, DType::I16, a, one).unwrap();
        let square = b.binary(Binary::Mul, DType::I16, next, next).unwrap();
        let out = b.binary(Binary::Sub, DType::I16, square, next).unwrap();
        assert_eq!(b.finish(out).run(&[3], &[x]).unwrap().to_vec::<i16>(), [2, 6, 12]);
    }
}
