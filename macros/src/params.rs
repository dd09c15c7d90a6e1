//! Which parameter types are possible, and how each travels.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, Pat, PatType, Type};

use crate::text::Errors;

/// One parameter of a task.
pub(crate) struct Param {
    attrs: Vec<Attribute>,
    pattern: Pat,
    ty: Type,
    /// What the outer function calls it.
    ident: Ident,
    way: Way,
}

/// How an argument travels.
enum Way {
    /// `&str`: read in place.
    Str,
    /// `&[u8]`: read in place.
    Bytes,
    /// `&T`: encoded from the borrow, decoded as `T` and lent.
    ///
    /// Decoded with `borrowed`, as it was encoded, whether or not `T` holds references: `owned` has
    /// a form of its own for byte strings.
    Lent(Type),
    /// `&T` where `T` is known to have no size: decoded as its owned form and lent.
    LentUnsized(Type),
    /// A value with references inside: decoded borrowing from the arguments.
    View,
    /// Everything else: `T`, moved in and decoded.
    Owned,
}

impl Way {
    fn of(ty: &Type) -> Self {
        let Type::Reference(reference) = bare(ty) else {
            return if holds_references(ty) { Self::View } else { Self::Owned };
        };
        let target = bare(&reference.elem);
        if let Type::Slice(slice) = target {
            if is_path(&slice.elem, &["u8"]) {
                return Self::Bytes;
            }
            let elem = &slice.elem;
            return Self::Lent(syn::parse_quote!(::std::vec::Vec<#elem>));
        }
        if is_path(target, &["str"]) {
            return Self::Str;
        }
        let unsized_names: [&[&str]; 9] = [
            &["Path"],
            &["path", "Path"],
            &["std", "path", "Path"],
            &["OsStr"],
            &["ffi", "OsStr"],
            &["std", "ffi", "OsStr"],
            &["CStr"],
            &["ffi", "CStr"],
            &["std", "ffi", "CStr"],
        ];
        if unsized_names.iter().any(|name| is_path(target, name)) {
            return Self::LentUnsized(target.clone());
        }
        Self::Lent(target.clone())
    }
}

impl Param {
    /// The parameters of a task, with what is wrong with them in `errors`.
    pub(crate) fn all<'a>(
        params: impl IntoIterator<Item = &'a PatType>,
        errors: &mut Errors,
    ) -> Vec<Self> {
        let mut all = Vec::<Self>::new();
        for (index, PatType { attrs, pat, ty, .. }) in params.into_iter().enumerate() {
            for attr in attrs.iter().filter(|attr| attr.path().is_ident("cfg")) {
                errors.add(
                    attr,
                    "a parameter can't be conditional: put `#[cfg]` on the whole function, once for each form",
                );
            }
            refuse_type(ty, Position::Param, errors);
            all.push(Self {
                attrs: attrs.clone(),
                pattern: (**pat).clone(),
                ty: (**ty).clone(),
                ident: own_name(pat)
                    .unwrap_or_else(|| format_ident!("arg{index}", span = pat.span())),
                way: Way::of(ty),
            });
        }
        // `(a, b): …` in the first place is `arg0`, unless another parameter has that name.
        for index in 0..all.len() {
            while own_name(&all[index].pattern).is_none()
                && (0..all.len())
                    .any(|other| other != index && all[other].ident == all[index].ident)
            {
                all[index].ident = format_ident!("{}_", all[index].ident);
            }
        }
        all
    }

    pub(crate) fn ty(&self) -> &Type {
        &self.ty
    }

    /// What the outer function calls it.
    pub(crate) fn ident(&self) -> &Ident {
        &self.ident
    }

    /// The parameter of the outer function.
    pub(crate) fn outer(&self) -> TokenStream {
        let (ident, ty) = (&self.ident, &self.ty);
        quote!(#ident: #ty)
    }

    /// The parameter of the body.
    pub(crate) fn inner(&self) -> TokenStream {
        let (attrs, pattern, ty) = (&self.attrs, &self.pattern, &self.ty);
        quote!(#(#attrs)* #pattern: #ty)
    }

    /// The statement of the outer function that encodes the argument into `__call`.
    pub(crate) fn encode(&self) -> TokenStream {
        let span = self.span();
        let name = self.name();
        // At the type, where the reason is when it can't be encoded.
        let mut value = self.ident.clone();
        value.set_span(self.ty.span().resolved_at(self.ident.span()));
        match self.way {
            Way::Str => quote_spanned!(span=> __call.str(#name, #value);),
            Way::Bytes => quote_spanned!(span=> __call.bytes(#name, #value);),
            Way::Lent(_) | Way::LentUnsized(_) => {
                quote_spanned!(span=> __call.borrowed(#name, #value);)
            }
            Way::View => quote_spanned!(span=> __call.borrowed(#name, &#value);),
            Way::Owned => quote_spanned!(span=> __call.owned(#name, #value);),
        }
    }

    /// The statement of the worker's side that takes the argument out of `__args`.
    pub(crate) fn decode(&self, index: usize) -> TokenStream {
        let span = self.span();
        let name = self.name();
        let local = local(index, span);
        let ty = &self.ty;
        let value = match &self.way {
            Way::Str => quote_spanned!(span=> __args.str(#name)),
            Way::Bytes => quote_spanned!(span=> __args.bytes(#name)),
            Way::Lent(target) => quote_spanned!(span=> __args.borrowed::<#target>(#name)),
            Way::LentUnsized(target) => {
                quote_spanned!(span=> __args.borrowed::<<#target as ::std::borrow::ToOwned>::Owned>(#name))
            }
            Way::View => quote_spanned!(span=> __args.borrowed::<#ty>(#name)),
            Way::Owned => quote_spanned!(span=> __args.owned::<#ty>(#name)),
        };
        quote_spanned!(span=> let #local = #value?;)
    }

    /// The argument the worker's side gives to the body.
    pub(crate) fn pass(&self, index: usize) -> TokenStream {
        let span = self.span();
        let local = local(index, span);
        match &self.way {
            Way::Str | Way::Bytes | Way::View | Way::Owned => quote!(#local),
            Way::Lent(_) => quote_spanned!(span=> &#local),
            Way::LentUnsized(target) => {
                quote_spanned!(span=> ::core::borrow::Borrow::<#target>::borrow(&#local))
            }
        }
    }

    /// What errors call it.
    fn name(&self) -> String {
        self.ident.unraw().to_string()
    }

    /// The place of the type, with the names of the expansion.
    fn span(&self) -> Span {
        Span::mixed_site().located_at(self.ty.span())
    }
}

fn local(index: usize, span: Span) -> Ident {
    format_ident!("__a{index}", span = span)
}

/// The name a pattern gives the whole value.
fn own_name(pattern: &Pat) -> Option<Ident> {
    match pattern {
        Pat::Ident(pattern) => Some(pattern.ident.clone()),
        Pat::Paren(pattern) => own_name(&pattern.pat),
        _ => None,
    }
}

/// The type inside parentheses and inside what a `macro_rules!` macro passed as `$ty`.
fn bare(mut ty: &Type) -> &Type {
    loop {
        ty = match ty {
            Type::Group(group) => &group.elem,
            Type::Paren(paren) => &paren.elem,
            _ => return ty,
        };
    }
}

/// Whether it is this plain path, with or without `::` before it.
fn is_path(ty: &Type, names: &[&str]) -> bool {
    let Type::Path(path) = bare(ty) else {
        return false;
    };
    path.qself.is_none()
        && path.path.segments.len() == names.len()
        && path
            .path
            .segments
            .iter()
            .zip(names)
            .all(|(segment, name)| segment.arguments.is_none() && segment.ident == name)
}

/// Whether a reference or an anonymous lifetime is anywhere inside.
fn holds_references(ty: &Type) -> bool {
    struct Look(bool);
    impl Visit<'_> for Look {
        fn visit_type_reference(&mut self, _: &syn::TypeReference) {
            self.0 = true;
        }
        fn visit_lifetime(&mut self, lifetime: &syn::Lifetime) {
            self.0 |= lifetime.ident == "_";
        }
        // A function pointer and `Fn(&str)` have lifetimes of their own.
        fn visit_type_bare_fn(&mut self, _: &syn::TypeBareFn) {}
        fn visit_parenthesized_generic_arguments(
            &mut self,
            _: &syn::ParenthesizedGenericArguments,
        ) {
        }
    }
    let mut look = Look(false);
    look.visit_type(ty);
    look.0
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Position {
    Param,
    Return,
}

/// Adds what is wrong with a type to `errors`.
pub(crate) fn refuse_type(ty: &Type, position: Position, errors: &mut Errors) {
    match bare(ty) {
        Type::Never(never) => {
            return errors.add(
                never,
                "the result is sent to another process: return `()`, even if it \
                 never does",
            );
        }
        Type::BareFn(pointer) => {
            return errors.add(
                pointer,
                "a function pointer means nothing in another process: pass a value that says \
                 which function to call, such as an enum",
            );
        }
        Type::Reference(reference) if position == Position::Param => {
            if let Type::TraitObject(object) = bare(&reference.elem) {
                return errors.add(
                    object,
                    "a trait object can't be decoded in another process: take a concrete type, \
                     or an enum of them",
                );
            }
        }
        _ => {}
    }
    Refuse { position, errors }.visit_type(ty);
}

struct Refuse<'a> {
    position: Position,
    errors: &'a mut Errors,
}

impl Visit<'_> for Refuse<'_> {
    fn visit_type_reference(&mut self, reference: &syn::TypeReference) {
        if self.position == Position::Return {
            // The whole reference, since its target goes with it.
            return self.errors.add(
                reference,
                "the result is sent to another process, so it can't be a reference: return an owned type \
                 (`String` for `&str`, `Vec<T>` for `&[T]`)",
            );
        }
        if reference.mutability.is_some() {
            return self.errors.add(
                reference,
                "a change made in another process isn't seen through a `&mut`: take it by value and return it",
            );
        }
        if let Some(lifetime) =
            reference.lifetime.as_ref().filter(|lifetime| lifetime.ident == "static")
        {
            return self.errors.add(
                lifetime,
                "arguments are decoded in another process and live as long as the call: elide the lifetime (`&str`), \
                 or take an owned type (`String`)",
            );
        }
        visit::visit_type_reference(self, reference);
    }

    fn visit_lifetime(&mut self, lifetime: &syn::Lifetime) {
        match (self.position, &*lifetime.ident.to_string()) {
            (_, "static") | (Position::Param, "_") => {}
            (Position::Return, "_") => self.errors.add(
                lifetime,
                "the result is sent to another process, so it can't borrow: return an owned type \
                 (`'static` instead of `'_`)",
            ),
            _ => self.errors.add(lifetime, NAMED_LIFETIME),
        }
    }

    fn visit_type_impl_trait(&mut self, ty: &syn::TypeImplTrait) {
        match self.position {
            Position::Param => self.errors.add(ty, GENERIC),
            Position::Return => self.errors.add(
                ty,
                "the result is decoded in another process, so its type has a name: return an owned type \
                 instead of `impl Trait`",
            ),
        }
    }

    fn visit_type_ptr(&mut self, ty: &syn::TypePtr) {
        self.errors
            .add(ty, "an address means nothing in another process: pass the value it points to");
    }

    fn visit_path(&mut self, path: &syn::Path) {
        match path.segments.first() {
            Some(first) if first.ident == "Self" => self.errors.add(&first.ident, SELF_TYPE),
            _ => visit::visit_path(self, path),
        }
    }

    fn visit_type_bare_fn(&mut self, _: &syn::TypeBareFn) {}
    fn visit_parenthesized_generic_arguments(&mut self, _: &syn::ParenthesizedGenericArguments) {}
    // Array lengths and other expressions hold no type that travels.
    fn visit_expr(&mut self, _: &syn::Expr) {}
}

pub(crate) const GENERIC: &str = "a task is looked up by name in another process, so it can't be generic: write one \
     task per type, each calling the generic function";

pub(crate) const NAMED_LIFETIME: &str = "arguments are decoded in another process and live as long as the call, so \
     lifetimes can't be named: elide the lifetime (`&str`, `Cow<'_, str>`)";

pub(crate) const SELF_TYPE: &str = "a task is a free function, even inside an `impl`: write the name of the type \
     instead of `Self`";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::text;

    /// The way of a type, and the type it is decoded as where that is another.
    fn way(source: &str) -> (&'static str, Option<String>) {
        match Way::of(&syn::parse_str(source).expect("the source of a type")) {
            Way::Str => ("str", None),
            Way::Bytes => ("bytes", None),
            Way::Lent(target) => ("lent", Some(text(target))),
            Way::LentUnsized(target) => ("lent unsized", Some(text(target))),
            Way::View => ("view", None),
            Way::Owned => ("owned", None),
        }
    }

    fn refusal(source: &str, position: Position) -> Option<String> {
        let mut errors = Errors::default();
        refuse_type(&syn::parse_str(source).expect("the source of a type"), position, &mut errors);
        errors.finish().err().map(|error| error.to_string())
    }

    #[test]
    fn every_type_has_its_way() {
        let vec = |elem| format!("::std::vec::Vec<{elem}>");
        for (source, name, target) in [
            ("&str", "str", None),
            ("(&(str))", "str", None),
            ("&[u8]", "bytes", None),
            ("&[(u8)]", "bytes", None),
            ("&Image", "lent", Some("Image".into())),
            ("&[u32]", "lent", Some(vec("u32"))),
            ("&[u8; 4]", "lent", Some("[u8; 4]".into())),
            ("&Cow<'static, str>", "lent", Some("Cow<'static, str>".into())),
            ("&other::str", "lent", Some("other::str".into())),
            ("&geometry::Path", "lent", Some("geometry::Path".into())),
            ("&Path", "lent unsized", Some("Path".into())),
            ("&std::path::Path", "lent unsized", Some("std::path::Path".into())),
            ("&::std::path::Path", "lent unsized", Some("::std::path::Path".into())),
            ("&OsStr", "lent unsized", Some("OsStr".into())),
            ("&ffi::CStr", "lent unsized", Some("ffi::CStr".into())),
            ("&&str", "lent", Some("&str".into())),
            ("&[&str]", "lent", Some(vec("&str"))),
            ("&Option<&str>", "lent", Some("Option<&str>".into())),
            ("&[Cow<'_, str>]", "lent", Some(vec("Cow<'_, str>"))),
            ("Cow<'_, str>", "view", None),
            ("Option<&str>", "view", None),
            ("(&str, u32)", "view", None),
            ("[&str; 2]", "view", None),
            ("Vec<(u8, &[u8])>", "view", None),
            ("u8", "owned", None),
            ("()", "owned", None),
            ("Cow<'static, str>", "owned", None),
            ("PhantomData<fn(&str)>", "owned", None),
            ("Box<dyn Fn(&str)>", "owned", None),
        ] {
            assert_eq!(way(source), (name, target), "{source}");
        }
    }

    #[test]
    fn what_is_refused_as_a_parameter() {
        for source in [
            "&mut u8",
            "Option<&mut u8>",
            "&'static str",
            "(&'static str, u8)",
            "&'a str",
            "Cow<'a, str>",
            "impl Shape",
            "Vec<impl Shape>",
            "&dyn Shape",
            "*const u8",
            "fn(u8) -> u8",
            "!",
            "Self",
            "Vec<Self>",
            "Self::Item",
        ] {
            assert!(refusal(source, Position::Param).is_some(), "{source}");
        }
        for source in [
            "&str",
            "Cow<'_, str>",
            "Cow<'static, str>",
            "PhantomData<fn(&'static str)>",
            "Box<dyn Shape>",
        ] {
            assert_eq!(refusal(source, Position::Param), None, "{source}");
        }
    }

    #[test]
    fn what_is_refused_as_a_result() {
        for source in [
            "&str",
            "&'static str",
            "Option<&str>",
            "Cow<'_, str>",
            "impl Shape",
            "Box<impl Shape>",
            "!",
            "Self",
        ] {
            assert!(refusal(source, Position::Return).is_some(), "{source}");
        }
        for source in ["String", "()", "Cow<'static, str>", "Result<Vec<u8>, String>"] {
            assert_eq!(refusal(source, Position::Return), None, "{source}");
        }
    }

    #[test]
    fn patterns_have_names_of_their_own_outside() {
        let sources =
            ["(a, b): (u8, u8)", "mut c: u8", "_: u8", "arg2: u8", "d @ E(_): E", "r#type: u8"];
        let params: Vec<PatType> = sources
            .map(|source| {
                let Ok(syn::FnArg::Typed(param)) = syn::parse_str(source) else {
                    panic!("{source}")
                };
                param
            })
            .into();
        let params = Param::all(&params, &mut Errors::default());
        let outer: Vec<String> = params.iter().map(|param| text(param.outer())).collect();
        assert_eq!(
            outer,
            ["arg0: (u8, u8)", "c: u8", "arg2_: u8", "arg2: u8", "d: E", "r#type: u8"]
        );
        assert_eq!(params[5].name(), "type");
    }
}
