//! Owns the order in which a chunk's elements meet their results: axes of one kind that lie side by side are one,
//! and what is left is walked as columns (the innermost axis stays) or rows (it is reduced).

use smallvec::SmallVec;

/// Inner loops of one reduction. Offsets are in elements of the chunk and of the result.
pub(crate) trait Visitor {
    /// `rows` rows of `width` elements, `stride` apart: row *r*'s element *j* goes to result `to + j`.
    fn columns(&mut self, from: usize, to: usize, rows: usize, stride: usize, width: usize);

    /// `count` elements side by side, all of which go to result `to`.
    fn row(&mut self, from: usize, to: usize, count: usize);
}

#[derive(Clone, Copy)]
struct Group {
    length: usize,
    reduced: bool,
    from_stride: usize,
    to_stride: usize,
}

/// Visits all elements of a chunk of `shape`; `reduced[axis]` says which axes go away.
pub(crate) fn walk(shape: &[u64], reduced: &[bool], visitor: &mut impl Visitor) {
    if shape.contains(&0) {
        return;
    }
    let mut groups: SmallVec<[Group; 6]> = SmallVec::new();
    for (&n, &reduced) in shape.iter().zip(reduced) {
        if n == 1 {
            continue;
        }
        match groups.last_mut() {
            Some(last) if last.reduced == reduced => last.length *= n as usize,
            _ => groups.push(Group { length: n as usize, reduced, from_stride: 0, to_stride: 0 }),
        }
    }
    let (mut from, mut to) = (1, 1);
    for group in groups.iter_mut().rev() {
        group.from_stride = from;
        from *= group.length;
        if !group.reduced {
            group.to_stride = to;
            to *= group.length;
        }
    }
    let Some(last) = groups.pop() else {
        visitor.row(0, 0, 1);
        return;
    };
    if last.reduced {
        odometer(&groups, |from, to| visitor.row(from, to, last.length));
    } else {
        let (rows, stride) = match groups.pop() {
            Some(above) => (above.length, above.from_stride),
            None => (1, 0),
        };
        odometer(&groups, |from, to| visitor.columns(from, to, rows, stride, last.length));
    }
}

fn odometer(groups: &[Group], mut visit: impl FnMut(usize, usize)) {
    let total: usize = groups.iter().map(|g| g.length).product();
    for number in 0..total {
        let (mut rest, mut from, mut to) = (number, 0, 0);
        for group in groups.iter().rev() {
            let at = rest % group.length;
            rest /= group.length;
            from += at * group.from_stride;
            to += at * group.to_stride;
        }
        visit(from, to);
    }
}
