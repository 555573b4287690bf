//! Owns the one place where a variable's type changes under it: a value whose type was compiled again, unchanged, in a
//! later cell's crate.

use std::any::Any;

/// Changes variable `name` over from `B` to `A`, which the evaluator found to be the same definition compiled in
/// another crate (docs/decisions/later-impls.md). One that is gone, or of another type, stays what it is.
///
/// # Safety
/// Both types must have the same definition, down to everything they are made of. Then one compiler lays them out alike,
/// since a layout is a function of the definition alone (layouts are not randomised without a flag that cells are not
/// compiled with).
#[expect(unsafe_code, reason = "two crates' copies of one definition are different types to the compiler")]
pub unsafe fn migrate<B: 'static, A: 'static>(name: &str) {
    crate::cell::replace(name, &mut |value| match value.downcast::<B>() {
        // SAFETY: the caller vouches for the definitions.
        Ok(value) => unsafe { recast::<B, A>(value) },
        Err(value) => value,
    });
}

/// Gives `value` the type `A`, if that can hold it; else gives it back as it was.
///
/// # Safety
/// As of [`migrate`].
#[expect(unsafe_code, reason = "see `migrate`")]
unsafe fn recast<B: 'static, A: 'static>(value: Box<B>) -> Box<dyn Any> {
    let alike = size_of::<B>() == size_of::<A>() && align_of::<B>() == align_of::<A>();
    if !alike || std::mem::needs_drop::<B>() && !std::mem::needs_drop::<A>() {
        return value;
    }
    // SAFETY: size and alignment are equal, so the box is freed as it was allocated; that the bytes of a `B` are those
    // of an `A` is what the caller vouches for.
    unsafe { Box::from_raw(Box::into_raw(value).cast::<A>()) }
}

#[cfg(test)]
#[expect(unsafe_code, reason = "it is what the tests are about")]
mod tests {
    use super::*;

    mod before {
        pub(super) struct P {
            #[expect(dead_code, reason = "read through the other definition")]
            pub(super) name: String,
        }
    }
    mod after {
        pub(super) struct P {
            pub(super) name: String,
        }
    }

    #[test]
    fn a_value_takes_the_type_of_the_same_definition() {
        // SAFETY: both definitions stand above, and are the same.
        let value = unsafe { recast::<before::P, after::P>(Box::new(before::P { name: "x".to_owned() })) };
        assert_eq!(value.downcast::<after::P>().ok().map(|p| p.name).as_deref(), Some("x"));
    }

    #[test]
    fn another_size_is_refused() {
        // SAFETY: sizes differ, so the value is given back.
        let value = unsafe { recast::<u32, u64>(Box::new(7)) };
        assert_eq!(value.downcast_ref::<u32>(), Some(&7));
    }
}
