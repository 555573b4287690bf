//! Owns what programs do with matrices: factors, systems, least squares. What has several answers is put together again, which
//! has one.

use nuna_array::{Array, Index};

use crate::program::{self, Choose, Draw};

type Call = program::Call<Array>;
type Drawn<'a, 'b> = &'a mut Draw<'b, Array>;

/// As in `arrays.rs`.
pub(crate) const OPERATIONS: &[(u64, Choose<Array>)] =
    &[(2, qr), (1, orthonormal), (2, svd), (1, singular_values), (2, lstsq), (2, solve), (1, det)];

fn matrix(draw: Drawn<'_, '_>) -> Option<usize> {
    if draw.mistaken() { Some(draw.any()) } else { draw.suiting(|v| v.ndim() == 2) }
}

fn qr(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = matrix(draw)?;
    let rust = "{ let (q, r) = $0.qr()?; q.matmul(&r)? }";
    Some(
        Call::new(&[a], rust, "put_together($0)", |v| {
            let (q, r) = v[0].qr()?;
            Ok(q.matmul(&r)?)
        })
        .ordered(),
    )
}

fn orthonormal(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = matrix(draw)?;
    let rust = "{ let (q, _) = $0.qr()?; q.transpose(&[1, 0])?.matmul(&q)? }";
    Some(
        Call::new(&[a], rust, "orthonormal($0)", |v| {
            let (q, _) = v[0].qr()?;
            Ok(q.transpose(&[1, 0])?.matmul(&q)?)
        })
        .ordered(),
    )
}

fn svd(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = matrix(draw)?;
    let rust = "{ let (u, s, vt) = $0.svd()?; u.mul(&s)?.matmul(&vt)? }";
    Some(
        Call::new(&[a], rust, "put_together($0)", |v| {
            let (u, s, vt) = v[0].svd()?;
            Ok(u.mul(&s)?.matmul(&vt)?)
        })
        .ordered(),
    )
}

fn singular_values(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = matrix(draw)?;
    Some(Call::new(&[a], "$0.svd()?.1", "singular_values($0)", |v| Ok(v[0].svd()?.1)).ordered())
}

fn lstsq(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = matrix(draw)?;
    let rows = draw.array(a).shape().first().copied();
    let mistaken = draw.mistaken();
    let b =
        draw.suiting(|v| mistaken || (1..=2).contains(&v.ndim()) && v.shape().first().copied() == rows)?;
    let (rust, python) = ("$0.matmul(&$0.lstsq(&$1)?)?", "projected($0, $1)");
    Some(Call::new(&[a, b], rust, python, |v| Ok(v[0].matmul(&v[0].lstsq(&v[1])?)?)).ordered())
}

/// The largest square in the corner.
fn corner(draw: Drawn<'_, '_>, a: usize) -> Option<i64> {
    let shape = draw.array(a).shape();
    (shape.len() == 2).then(|| shape.iter().copied().min().unwrap_or(0) as i64)
}

fn solve(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.suiting(|v| v.ndim() == 2)?;
    let n = corner(draw, a)?;
    let wide = n + i64::from(draw.mistaken());
    let rust = format!(
        "$0.index(&[Index::from(0..{n}), Index::from(0..{wide})])?.solve(&$0.index(&[Index::from(0..{n})])?)?"
    );
    let python = format!("solved($0[:{n}, :{wide}], $0[:{n}])");
    Some(
        Call::new(&[a], rust, python, move |v| {
            let square = v[0].index(&[Index::from(0..n), Index::from(0..wide)])?;
            Ok(square.solve(&v[0].index(&[Index::from(0..n)])?)?)
        })
        .ordered(),
    )
}

fn det(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.suiting(|v| v.ndim() == 2)?;
    let n = corner(draw, a)?;
    let rust = format!("$0.index(&[Index::from(0..{n}), Index::from(0..{n})])?.det()?");
    let python = format!("determinant($0[:{n}, :{n}])");
    Some(
        Call::new(&[a], rust, python, move |v| {
            Ok(v[0].index(&[Index::from(0..n), Index::from(0..n)])?.det()?)
        })
        .ordered(),
    )
}
