//! Owns the rule for what a closure may capture when its captures travel as bytes.

/// Types whose bytes mean the same in another process: no references, no pointers, no function pointers, at any
/// depth. It is implemented by the compiler, field by field; nobody implements it by hand.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot travel to another process",
    label = "`{Self}` points into the memory of this process",
    note = "a closure that runs on workers may capture plain `Copy` values: numbers, `bool`, arrays and structs of them",
    note = "write `move |…|` so that values are captured, not references to them",
    note = "for anything else (`Vec`, `String`, a map) hand it over explicitly: `cluster.map_with(captures!(a, b), parameters, |(a, b), p| …)`"
)]
pub auto trait Ship {}

impl<T: ?Sized> !Ship for &T {}
impl<T: ?Sized> !Ship for &mut T {}
impl<T: ?Sized> !Ship for *const T {}
impl<T: ?Sized> !Ship for *mut T {}

macro_rules! refuse_function_pointers {
    ($(($($argument:ident),*)),* $(,)?) => {$(
        impl<Output, $($argument),*> !Ship for fn($($argument),*) -> Output {}
        impl<Output, $($argument),*> !Ship for unsafe fn($($argument),*) -> Output {}
        impl<Output, $($argument),*> !Ship for extern "C" fn($($argument),*) -> Output {}
        impl<Output, $($argument),*> !Ship for unsafe extern "C" fn($($argument),*) -> Output {}
    )*};
}

// Code moves when a library is loaded elsewhere. A function *item* (its name) is fine: it has no bytes.
refuse_function_pointers!(
    (),
    (A),
    (A, B),
    (A, B, C),
    (A, B, C, D),
    (A, B, C, D, E),
    (A, B, C, D, E, F),
    (A, B, C, D, E, F, G),
    (A, B, C, D, E, F, G, H),
);

#[cfg(test)]
mod tests {
    use super::Ship;

    fn travels<T: Ship>(_: &T) {}

    #[test]
    fn plain_values_and_function_items_travel() {
        fn double(x: f64) -> f64 {
            2.0 * x
        }
        let (scale, offsets, mask) = (2.0_f64, [1_i32, 2, 3], Some(true));
        travels(&move |x: f64| x * scale + f64::from(offsets[0]) * f64::from(u8::from(mask.unwrap())));
        travels(&double);
        travels(&move |x: f64| double(x));
    }
}
