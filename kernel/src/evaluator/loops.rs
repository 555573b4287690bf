//! Owns where a cell's loops look for an interrupt. `loop {}` and `while` never end by themselves, so each looks once a
//! turn: a load and a branch. A `for` ends, and its body may be vectorised, so inside functions and closures only one
//! with another loop in it looks. Code that is evaluated by the compiler cannot look at all. What follows a sleep looks too:
//! an interrupt cuts the sleep short, and it would run too early.

use syn::{
    Expr, ExprClosure, ExprForLoop, ExprLoop, ExprWhile, ImplItemFn, ItemConst, ItemFn, ItemStatic,
    Signature, Stmt, TraitItemFn,
    visit::{self, Visit},
};

const CHECK: &str = " ::nuna::cell::check(); ";

/// Adds the places, as bytes of the cell, where a look is to be put in.
pub fn checks(statement: &Stmt, insertions: &mut Vec<(usize, &'static str)>) {
    Checks { insertions, in_function: false, in_for: false }.visit_stmt(statement);
}

struct Checks<'a> {
    insertions: &'a mut Vec<(usize, &'static str)>,
    in_function: bool,
    in_for: bool,
}

impl Checks<'_> {
    fn put(&mut self, body: &syn::Block) {
        self.insertions.push((body.brace_token.span.open().byte_range().end, CHECK));
    }

    fn within(&mut self, signature: &Signature, walk: impl FnOnce(&mut Self)) {
        // Constant code may not call a function that is not; unwinding out of a foreign one aborts.
        if signature.constness.is_none() && signature.abi.is_none() {
            let before = (std::mem::replace(&mut self.in_function, true), std::mem::take(&mut self.in_for));
            walk(self);
            (self.in_function, self.in_for) = before;
        }
    }
}

impl<'ast> Visit<'ast> for Checks<'_> {
    fn visit_expr_loop(&mut self, expression: &'ast ExprLoop) {
        self.put(&expression.body);
        visit::visit_expr_loop(self, expression);
    }

    fn visit_expr_while(&mut self, expression: &'ast ExprWhile) {
        self.put(&expression.body);
        visit::visit_expr_while(self, expression);
    }

    fn visit_expr_for_loop(&mut self, expression: &'ast ExprForLoop) {
        let outermost = !self.in_function && !self.in_for;
        if outermost || holds_loop(&expression.body) {
            self.put(&expression.body);
        }
        let before = std::mem::replace(&mut self.in_for, true);
        visit::visit_expr_for_loop(self, expression);
        self.in_for = before;
    }

    fn visit_block(&mut self, block: &'ast syn::Block) {
        for statement in &block.stmts {
            if let Stmt::Expr(expression, Some(semicolon)) = statement
                && is_sleep(expression)
            {
                self.insertions.push((semicolon.span.byte_range().end, CHECK));
            }
        }
        visit::visit_block(self, block);
    }

    fn visit_expr_closure(&mut self, expression: &'ast ExprClosure) {
        let before = std::mem::replace(&mut self.in_function, true);
        visit::visit_expr_closure(self, expression);
        self.in_function = before;
    }

    fn visit_item_fn(&mut self, item: &'ast ItemFn) {
        self.within(&item.sig, |this| visit::visit_item_fn(this, item));
    }

    fn visit_impl_item_fn(&mut self, item: &'ast ImplItemFn) {
        self.within(&item.sig, |this| visit::visit_impl_item_fn(this, item));
    }

    fn visit_trait_item_fn(&mut self, item: &'ast TraitItemFn) {
        self.within(&item.sig, |this| visit::visit_trait_item_fn(this, item));
    }

    fn visit_item_const(&mut self, _: &'ast ItemConst) {}

    fn visit_item_static(&mut self, _: &'ast ItemStatic) {}

    fn visit_impl_item_const(&mut self, _: &'ast syn::ImplItemConst) {}

    fn visit_trait_item_const(&mut self, _: &'ast syn::TraitItemConst) {}

    fn visit_expr_const(&mut self, _: &'ast syn::ExprConst) {}

    fn visit_type(&mut self, _: &'ast syn::Type) {}
}

/// A call of something named `sleep`, as `std::thread::sleep` is.
fn is_sleep(expression: &Expr) -> bool {
    let Expr::Call(call) = expression else { return false };
    let Expr::Path(function) = &*call.func else { return false };
    function.path.segments.last().is_some_and(|name| name.ident == "sleep" || name.ident == "sleep_until")
}

fn holds_loop(block: &syn::Block) -> bool {
    struct Found(bool);
    impl<'ast> Visit<'ast> for Found {
        fn visit_expr(&mut self, expression: &'ast Expr) {
            self.0 |= matches!(expression, Expr::Loop(_) | Expr::While(_) | Expr::ForLoop(_));
            visit::visit_expr(self, expression);
        }
    }
    let mut found = Found(false);
    found.visit_block(block);
    found.0
}

#[cfg(test)]
mod tests {
    use crate::evaluator::split::split;

    fn looks(text: &str) -> usize {
        split(text).unwrap().insertions.iter().filter(|(_, put)| *put == super::CHECK).count()
    }

    #[test]
    fn endless_loops_look_and_tight_ones_do_not() {
        assert_eq!(looks("loop { }"), 1);
        assert_eq!(looks("let f = || while true { };"), 1);
        assert_eq!(looks("for i in 0..9 { for j in 0..9 { } }"), 1);
        assert_eq!(looks("fn f(v: &[f64]) -> f64 { let mut s = 0.0; for x in v { s += x } s }"), 0);
        assert_eq!(looks("fn f() { for i in 0..9 { for j in 0..9 { } } }"), 1);
        assert_eq!(looks("const fn f() { loop { } }"), 0);
        assert_eq!(looks("fn f() { std::thread::sleep(t); go() }"), 1);
    }
}
