//! Owns matching a type with the type that an `impl` is for: whether the `impl` holds, and what its parameters stand for.

use std::collections::BTreeMap;

use quote::ToTokens;
use syn::{
    GenericArgument, GenericParam, ItemImpl, PathArguments, Type,
    visit_mut::{self, VisitMut},
};

/// What the parameters of an `impl` stand for.
pub type Bindings = BTreeMap<String, Type>;

/// The `impl` with this header, as an empty block.
pub fn header(text: &str) -> Option<ItemImpl> {
    // Bounds are the compiler's to check, and `?Sized` and the like read badly.
    let text = text.split(" where ").next().unwrap_or(text);
    syn::parse_str(&format!("{text} {{}}")).ok()
}

/// What the parameters of `block` stand for if it is for `ty`.
pub fn matches(block: &ItemImpl, ty: &Type) -> Option<Bindings> {
    let parameters: Vec<String> = block
        .generics
        .params
        .iter()
        .filter_map(|parameter| match parameter {
            GenericParam::Type(ty) => Some(ty.ident.to_string()),
            GenericParam::Const(value) => Some(value.ident.to_string()),
            GenericParam::Lifetime(_) => None,
        })
        .collect();
    let mut bindings = Bindings::new();
    unify(bare(&block.self_ty), ty, &parameters, &mut bindings).then_some(bindings)
}

/// Without references and brackets.
pub fn bare(mut ty: &Type) -> &Type {
    loop {
        ty = match ty {
            Type::Reference(reference) => &reference.elem,
            Type::Paren(paren) => &paren.elem,
            Type::Group(group) => &group.elem,
            ty => return ty,
        };
    }
}

/// A parameter that nobody knows yet, which fits everything.
fn is_open(ty: &Type) -> bool {
    matches!(ty, Type::Infer(_))
}

fn unify(pattern: &Type, actual: &Type, parameters: &[String], bindings: &mut Bindings) -> bool {
    if is_open(actual) {
        return true;
    }
    match (pattern, actual) {
        (Type::Path(path), _)
            if path.path.get_ident().is_some_and(|own| parameters.contains(&own.to_string())) =>
        {
            let name = path.path.get_ident().map(ToString::to_string).unwrap_or_default();
            match bindings.get(&name) {
                Some(before) => before.to_token_stream().to_string() == actual.to_token_stream().to_string(),
                None => {
                    bindings.insert(name, actual.clone());
                    true
                }
            }
        }
        (Type::Path(pattern), Type::Path(actual)) => {
            let (Some(own), Some(other)) = (pattern.path.segments.last(), actual.path.segments.last()) else {
                return false;
            };
            if own.ident != other.ident {
                // A projection such as `D::Smaller` says nothing about what it is.
                return pattern.path.segments.len() > 1
                    && pattern
                        .path
                        .segments
                        .first()
                        .is_some_and(|first| parameters.contains(&first.ident.to_string()));
            }
            let (own, other) = (arguments(&own.arguments), arguments(&other.arguments));
            own.iter().zip(&other).all(|(own, other)| unify(own, other, parameters, bindings))
        }
        (Type::Reference(pattern), Type::Reference(actual)) => {
            unify(&pattern.elem, &actual.elem, parameters, bindings)
        }
        (Type::Slice(pattern), Type::Slice(actual)) => {
            unify(&pattern.elem, &actual.elem, parameters, bindings)
        }
        (Type::Array(pattern), Type::Array(actual)) => {
            unify(&pattern.elem, &actual.elem, parameters, bindings)
        }
        (Type::Tuple(pattern), Type::Tuple(actual)) => {
            pattern.elems.len() == actual.elems.len()
                && pattern
                    .elems
                    .iter()
                    .zip(&actual.elems)
                    .all(|(own, other)| unify(own, other, parameters, bindings))
        }
        (Type::Ptr(pattern), Type::Ptr(actual)) => unify(&pattern.elem, &actual.elem, parameters, bindings),
        (Type::BareFn(_), Type::BareFn(_)) | (Type::TraitObject(_), Type::TraitObject(_)) => true,
        _ => false,
    }
}

fn arguments(arguments: &PathArguments) -> Vec<Type> {
    let PathArguments::AngleBracketed(list) = arguments else { return Vec::new() };
    let types = list.args.iter().filter_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty.clone()),
        _ => None,
    });
    types.collect()
}

/// `ty` with parameters replaced by what they stand for.
pub fn replaced(ty: &str, bindings: &Bindings) -> Option<Type> {
    struct Replace<'a>(&'a Bindings);
    impl VisitMut for Replace<'_> {
        fn visit_type_mut(&mut self, ty: &mut Type) {
            if let Type::Path(path) = &*ty
                && let Some(name) = path.path.get_ident()
                && let Some(bound) = self.0.get(&name.to_string())
            {
                *ty = bound.clone();
                return;
            }
            visit_mut::visit_type_mut(self, ty);
        }
    }
    let mut ty: Type = syn::parse_str(ty).ok()?;
    Replace(bindings).visit_type_mut(&mut ty);
    Some(ty)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(header_text: &str, ty: &str) -> bool {
        matches(&header(header_text).unwrap(), &syn::parse_str(ty).unwrap()).is_some()
    }

    #[test]
    fn blocks_hold_for_their_types_only() {
        assert!(holds("impl<T, A: Allocator> Vec<T, A> where T: Clone", "std::vec::Vec<f64>"));
        assert!(holds("impl [u8]", "[u8]") && !holds("impl [u8]", "[f64]"));
        assert!(holds("impl<T> Option<&T>", "Option<&i32>") && !holds("impl<T> Option<&T>", "Option<i32>"));
        assert!(holds("impl<T, E> Option<Result<T, E>>", "Option<_>"));
        assert!(holds("impl<'a, T> IntoIterator for &'a Vec<T>", "Vec<i32>"));
        assert!(!holds("impl From<Vec<u8>> for String", "Vec<u8>"));
    }

    #[test]
    fn parameters_are_carried_over() {
        let block = header("impl<T: ?Sized, A> Deref for Arc<T, A>").unwrap();
        let bindings = matches(&block, &syn::parse_str("std::sync::Arc<Vec<f64>>").unwrap()).unwrap();
        let target = replaced("T", &bindings).unwrap();
        assert_eq!(target.to_token_stream().to_string().replace(' ', ""), "Vec<f64>");
        let slice = replaced("[T]", &bindings).unwrap();
        assert_eq!(slice.to_token_stream().to_string().replace(' ', ""), "[Vec<f64>]");
    }
}
