//! Owns programs as data: instructions in single-assignment form, built once per stage and sent to workers.

use serde::{Deserialize, Serialize};

use crate::{
    dtype::DType,
    error::ChunkError,
    scalar::Scalar,
    tile::operation::{Binary, Unary},
};

/// A value of a program: first its inputs, then the results of its instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ValueId(pub u32);

/// One step over a tile. The dtype is that of its operands, which have been made equal.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Instruction {
    Constant {
        value: Scalar,
        dtype: DType,
    },
    Cast {
        from: DType,
        to: DType,
        a: ValueId,
    },
    Unary {
        op: Unary,
        dtype: DType,
        a: ValueId,
    },
    Binary {
        op: Binary,
        dtype: DType,
        a: ValueId,
        b: ValueId,
    },
    /// `b` where `a` is true, else `c`; `dtype` is that of `b` and `c`.
    Where {
        dtype: DType,
        a: ValueId,
        b: ValueId,
        c: ValueId,
    },
}

/// A fused elementwise computation. Runs with [`Program::run`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Program {
    pub(crate) inputs: Vec<DType>,
    pub(crate) instructions: Vec<Instruction>,
    /// What the program gives, and its dtype.
    pub(crate) output: ValueId,
    pub(crate) dtype: DType,
}

impl Program {
    pub fn input_count(&self) -> usize {
        self.inputs.len()
    }

    pub fn instruction_count(&self) -> usize {
        self.instructions.len()
    }

    pub fn dtype(&self) -> DType {
        self.dtype
    }
}

/// Writes a program, inserting the casts that promotion asks for and sharing equal instructions.
#[derive(Default)]
pub struct Builder {
    inputs: Vec<DType>,
    instructions: Vec<Instruction>,
    /// The dtype of each instruction's result.
    dtypes: Vec<DType>,
    sealed: bool,
}

impl Builder {
    pub fn new() -> Self {
        Self::default()
    }

    /// Declares the next input. All inputs come before the first instruction.
    ///
    /// # Panics
    /// If an instruction was written already.
    pub fn input(&mut self, dtype: DType) -> ValueId {
        assert!(!self.sealed, "inputs come before instructions");
        self.inputs.push(dtype);
        ValueId(self.inputs.len() as u32 - 1)
    }

    pub fn dtype(&self, value: ValueId) -> DType {
        let index = value.0 as usize;
        self.inputs.get(index).copied().unwrap_or_else(|| self.dtypes[index - self.inputs.len()])
    }

    fn push(&mut self, instruction: Instruction, dtype: DType) -> ValueId {
        self.sealed = true;
        if let Some(index) = self.instructions.iter().position(|known| *known == instruction) {
            return ValueId((self.inputs.len() + index) as u32);
        }
        self.instructions.push(instruction);
        self.dtypes.push(dtype);
        ValueId((self.inputs.len() + self.instructions.len()) as u32 - 1)
    }

    pub fn constant(&mut self, value: Scalar, dtype: DType) -> ValueId {
        self.push(Instruction::Constant { value, dtype }, dtype)
    }

    pub fn cast(&mut self, a: ValueId, to: DType) -> ValueId {
        let from = self.dtype(a);
        if from == to {
            return a;
        }
        if to.is_complex() && !from.is_complex() && from != to.real_part() {
            // By way of its parts' dtype: only that has a loop to complex numbers.
            let part = self.cast(a, to.real_part());
            return self.cast(part, to);
        }
        self.push(Instruction::Cast { from, to, a }, to)
    }

    /// # Errors
    /// If the operation is not defined for the dtype.
    pub fn unary(&mut self, op: Unary, a: ValueId) -> Result<ValueId, ChunkError> {
        let (dtype, out) = op.dtypes(self.dtype(a))?;
        let a = self.cast(a, dtype);
        Ok(self.push(Instruction::Unary { op, dtype, a }, out))
    }

    /// Both operands computed in what `promoted` (see [`DType::promote`], [`Scalar::promote`]) gives for `op`.
    ///
    /// # Errors
    /// If the operation is not defined for the dtype.
    pub fn binary(
        &mut self,
        op: Binary,
        promoted: DType,
        a: ValueId,
        b: ValueId,
    ) -> Result<ValueId, ChunkError> {
        let (dtype, out) = op.dtypes(promoted)?;
        let (a, b) = (self.cast(a, dtype), self.cast(b, dtype));
        Ok(self.push(Instruction::Binary { op, dtype, a, b }, out))
    }

    /// `then` where `condition` is true, else `otherwise`, as `dtype`.
    pub fn select(&mut self, dtype: DType, condition: ValueId, then: ValueId, otherwise: ValueId) -> ValueId {
        let a = self.cast(condition, DType::Bool);
        let (b, c) = (self.cast(then, dtype), self.cast(otherwise, dtype));
        self.push(Instruction::Where { dtype, a, b, c }, dtype)
    }

    pub fn finish(self, output: ValueId) -> Program {
        let dtype = self.dtype(output);
        Program { inputs: self.inputs, instructions: self.instructions, output, dtype }
    }
}
