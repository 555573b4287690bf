//! Owns parameter grids for task farms.

/// Every pair of `outer` and `inner`, `inner` running fastest.
///
/// For named parameters, or more than two, see [`grid!`](crate::grid!).
pub fn grid<A: Clone, B: Clone>(
    outer: impl IntoIterator<Item = A>,
    inner: impl IntoIterator<Item = B>,
) -> Vec<(A, B)> {
    let inner: Vec<B> = inner.into_iter().collect();
    outer
        .into_iter()
        .flat_map(|a| inner.iter().map(move |b| (a.clone(), b.clone())).collect::<Vec<_>>())
        .collect()
}

/// Every combination of named parameters as a `Vec` of structs, the last one running fastest:
/// `grid!(Params { a: [0.1, 0.2], steps: 1..=3 })`.
#[macro_export]
macro_rules! grid {
    ($name:ident { $($field:ident : $values:expr),+ $(,)? }) => {{
        let mut all = ::std::vec::Vec::new();
        $crate::grid!(@axes all $name [] $($field: $values,)+);
        all
    }};
    (@axes $all:ident $name:ident [$($done:ident)*] $field:ident : $values:expr, $($rest:tt)*) => {
        for $field in ::std::iter::IntoIterator::into_iter($values) {
            $crate::grid!(@axes $all $name [$($done)* $field] $($rest)*);
        }
    };
    (@axes $all:ident $name:ident [$($done:ident)*]) => {
        $all.push($name { $($done: ::std::clone::Clone::clone(&$done)),* })
    };
}
