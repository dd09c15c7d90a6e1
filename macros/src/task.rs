//! `#[task]` on a function and on `impl Task for T`.

use proc_macro2::{Group, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::parse::discouraged::Speculative;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{
    Attribute, FnArg, Generics, Meta, PatType, ReturnType, Signature, Token, Type, Visibility,
    WhereClause,
};

use crate::expand::{
    Registration, TaskFn, async_run, blocking_run, braces, call, path_name, private,
};
use crate::options::TaskOptions;
use crate::params::{GENERIC, NAMED_LIFETIME, Param, Position, refuse_type};
use crate::text::{Errors, text};

pub(crate) fn expand(options: TokenStream, item: TokenStream) -> TokenStream {
    let parsed = syn::parse2(item.clone());
    // A function stays, so that one mistake does not make every mention of it an error as well. An
    // impl does not: what is wrong with it would be reported twice.
    let kept = (!matches!(parsed, Ok(Item::Impl(_)))).then_some(&item);
    let expanded = TaskOptions::parse(options).and_then(|options| match parsed? {
        Item::Fn(function) => task_fn(*function, &options).map(|task| task.expand()),
        Item::Impl(item_impl) => task_impl(*item_impl, &options).map(|added| quote!(#item #added)),
    });
    expanded.unwrap_or_else(|error| {
        let error = error.into_compile_error();
        quote!(#error #kept)
    })
}

/// What the attribute can be on. Bodies stay tokens: they are rustc's to read.
enum Item {
    Fn(Box<Function>),
    Impl(Box<Impl>),
}

struct Function {
    attrs: Vec<Attribute>,
    vis: Visibility,
    sig: Signature,
    body: Group,
}

struct Impl {
    attrs: Vec<Attribute>,
    unsafety: Option<Token![unsafe]>,
    generics: Generics,
    /// Of `AsyncTask`, not of `Task`.
    is_async: bool,
    ty: Type,
    body: Group,
}

const EXPECTED: &str = "expected a fn, an async fn, `impl Task for T` or `impl AsyncTask for T`";

impl Parse for Item {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let attrs = input.call(Attribute::parse_outer)?;
        if input.peek(Token![impl]) || (input.peek(Token![unsafe]) && input.peek2(Token![impl])) {
            return Impl::parse(attrs, input).map(Box::new).map(Self::Impl);
        }
        let vis = input.parse()?;
        let is_fn =
            input.peek(Token![fn]) || (input.peek(Token![async]) && input.peek2(Token![fn]));
        let ahead = input.fork();
        let sig = match ahead.parse::<Signature>() {
            Ok(sig) => sig,
            Err(error) if is_fn => return Err(error),
            Err(_) => return Err(syn::Error::new(input.span(), EXPECTED)),
        };
        input.advance_to(&ahead);
        if input.peek(Token![;]) {
            return Err(syn::Error::new_spanned(
                &sig,
                "a task needs a body: put `#[procpool::task]` on a free function, or on `impl Task for T`",
            ));
        }
        let body = braces(input, EXPECTED)?;
        Ok(Self::Fn(Box::new(Function { attrs, vis, sig, body })))
    }
}

impl Impl {
    fn parse(attrs: Vec<Attribute>, input: ParseStream<'_>) -> syn::Result<Self> {
        let unsafety = input.parse()?;
        let impl_token = input.parse::<Token![impl]>()?;
        let mut generics = input.parse::<Generics>()?;
        input.parse::<Option<Token![!]>>()?;
        // The trait, or the type of an inherent impl.
        let of = input.parse::<Type>()?;
        if input.parse::<Option<Token![for]>>()?.is_none() {
            return Err(syn::Error::new(
                impl_token.span(),
                format!("{EXPECTED}: put `#[procpool::task]` on the functions, outside the `impl`"),
            ));
        }
        let ty = input.parse()?;
        generics.where_clause = input.parse::<Option<WhereClause>>()?;
        let body = braces(input, EXPECTED)?;
        let is_async = matches!(&of, Type::Path(path)
            if path.path.segments.last().is_some_and(|last| last.ident == "AsyncTask"));
        Ok(Self { attrs, unsafety, generics, is_async, ty, body })
    }
}

fn task_fn(function: Function, options: &TaskOptions) -> syn::Result<TaskFn> {
    let Function { attrs, vis, sig, body } = function;
    let mut errors = Errors::default();
    refuse_generics(&sig.generics, &mut errors);
    if let Some(constness) = sig.constness {
        errors.add(
            constness,
            "a task runs in another process, never while compiling: remove `const`, or make a task that calls the \
             const fn",
        );
    }
    if let Some(unsafety) = sig.unsafety {
        errors.add(
            unsafety,
            "another process can't keep the promises of an unsafe fn: remove `unsafe`, and check the arguments in \
             a safe task that calls the unsafe fn",
        );
    }
    if let Some(abi) = &sig.abi {
        errors.add(
            abi,
            "a task is called by name, not through an ABI: remove `extern`, or make a task that calls the extern fn",
        );
    }
    if let Some(variadic) = &sig.variadic {
        errors.add(
            variadic,
            "a task has a fixed number of parameters: take a `Vec<T>` instead of `...`",
        );
    }
    let mut params = Vec::<&PatType>::new();
    for input in &sig.inputs {
        match input {
            FnArg::Typed(param) => params.push(param),
            FnArg::Receiver(receiver) => errors.add(
                receiver,
                "a method can't be a task: put #[procpool::task] on `impl Task for T`, or make it a free function",
            ),
        }
    }
    // With these, the types are wrong only in consequence.
    errors.finish()?;

    let mut errors = Errors::default();
    let params = Param::all(params, &mut errors);
    let output = match sig.output {
        ReturnType::Default => None,
        ReturnType::Type(_, ty) => {
            refuse_type(&ty, Position::Return, &mut errors);
            Some(*ty)
        }
    };
    errors.finish()?;

    let (outer_attrs, inner_attrs) = attrs.into_iter().partition(is_outer);
    Ok(TaskFn {
        krate: options.krate(),
        name: match &options.name {
            Some(name) => name.to_token_stream(),
            None => path_name(&sig.ident.unraw().to_string()),
        },
        outer_attrs,
        inner_attrs,
        vis,
        ident: sig.ident,
        is_async: sig.asyncness.is_some(),
        params,
        output,
        body: body.into_token_stream(),
    })
}

/// Adds what is wrong with the generics of a task to `errors`.
pub(crate) fn refuse_generics(generics: &Generics, errors: &mut Errors) {
    for param in &generics.params {
        match param {
            syn::GenericParam::Lifetime(lifetime) => errors.add(lifetime, NAMED_LIFETIME),
            syn::GenericParam::Type(_) | syn::GenericParam::Const(_) => errors.add(param, GENERIC),
        }
    }
    if let Some(clause) = &generics.where_clause {
        errors.add(
            clause,
            "a task isn't generic, so it has nothing to bound: remove the `where` clause",
        );
    }
}

/// Whether an attribute belongs to the function that users call. Lint levels reach the body from
/// there.
///
/// The rest says how code is compiled, or rewrites it (`#[inline]`, `#[tracing::instrument]`): that
/// is for the body.
fn is_outer(attr: &Attribute) -> bool {
    fn meta_is_outer(meta: &Meta) -> bool {
        const OUTER: [&str; 12] = [
            "cfg",
            "doc",
            "deprecated",
            "must_use",
            "allow",
            "warn",
            "deny",
            "forbid",
            "expect",
            "rustfmt",
            "clippy",
            "diagnostic",
        ];
        match meta {
            Meta::List(list) if list.path.is_ident("cfg_attr") => list
                .parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated)
                .map_or(true, |metas| metas.iter().skip(1).any(meta_is_outer)),
            _ => meta
                .path()
                .segments
                .first()
                .is_some_and(|first| OUTER.iter().any(|outer| first.ident == outer)),
        }
    }
    meta_is_outer(&attr.meta)
}

/// What is added to an `impl Task for T`.
fn task_impl(item: Impl, options: &TaskOptions) -> syn::Result<TokenStream> {
    let Impl { attrs, unsafety, generics, is_async, ty, body } = item;
    let mut errors = Errors::default();
    if let Some(unsafety) = unsafety {
        errors.add(unsafety, "`Task` is not an unsafe trait: remove `unsafe`");
    }
    refuse_generics(&generics, &mut errors);
    if let Type::Reference(reference) = &ty {
        errors.add(
            reference,
            "the value is sent to another process: implement `Task` for the type, not for a reference to it",
        );
    } else {
        refuse_anonymous_lifetimes(&ty, &mut errors);
    }
    let mut tokens = body.stream().into_iter().peekable();
    while let Some(token) = tokens.next() {
        let is_word =
            |token: &TokenTree, word| matches!(token, TokenTree::Ident(ident) if ident == word);
        if !is_async
            && is_word(&token, "async")
            && tokens.peek().is_some_and(|next| is_word(next, "fn"))
        {
            errors.add(
                token,
                "`Task::run` is a blocking function: implement `procpool::AsyncTask` instead, or remove `async`",
            );
        }
    }
    errors.finish()?;

    let krate = options.krate();
    let span = Span::mixed_site();
    let at_type = span.located_at(ty.span());
    let private = private(&krate);
    let name = text(&ty);
    let of = if is_async { quote!(#krate::AsyncTask) } else { quote!(#krate::Task) };
    let output = quote_spanned!(at_type=> <#ty as #of>::Output);
    let decode = quote_spanned!(at_type=> let __value = __args.owned::<#ty>("self")?;);
    let run = quote_spanned!(at_type=> <#ty as #of>::run(__value));
    let (kind, run) = if is_async {
        (quote!(Async), async_run(&private, at_type, &decode, &run))
    } else {
        let put = quote_spanned!(at_type=> __out.put(#run));
        (quote!(Blocking), blocking_run(&private, quote!(#decode #put)))
    };
    let of = if is_async { "AsyncTask" } else { "Task" };
    let entry = Registration {
        krate: &krate,
        name: match &options.name {
            Some(name) => name.to_token_stream(),
            None => path_name(&name),
        },
        signature: format!("fn({name}) -> <{name} as {of}>::Output"),
        is_async,
        run,
    }
    .entry();
    let call = call(ty.span());
    let encode = quote_spanned!(at_type=> #call.owned("self", self););
    let finish = quote_spanned!(at_type=> #call.finish());
    let conditions = attrs.iter().filter(|attr| attr.path().is_ident("cfg"));
    Ok(quote_spanned! {span=>
        #(#conditions)*
        impl #krate::IntoCall for #ty {
            type Output = #output;
            type Kind = #krate::#kind;

            fn into_call(self) -> #krate::Call<#output, #krate::#kind> {
                let mut #call = #private::CallEncoder::new(#entry);
                #encode
                #finish
            }
        }
    })
}

fn refuse_anonymous_lifetimes(ty: &Type, errors: &mut Errors) {
    struct Refuse<'a>(&'a mut Errors);
    impl syn::visit::Visit<'_> for Refuse<'_> {
        fn visit_lifetime(&mut self, lifetime: &syn::Lifetime) {
            if lifetime.ident != "static" {
                self.0.add(
                    lifetime,
                    "the value is sent to another process, so it can't borrow: implement `Task` for a type that owns \
                     what it needs",
                );
            }
        }
    }
    syn::visit::Visit::visit_type(&mut Refuse(errors), ty);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(item: &str) -> String {
        expand(TokenStream::new(), item.parse().expect("the tokens of an item")).to_string()
    }

    #[test]
    fn a_variadic_function_is_refused_with_everything_else_that_is_wrong() {
        let messages = messages("unsafe extern \"C\" fn f(x: u32, ...) {}");
        for part in ["instead of `...`", "remove `unsafe`", "remove `extern`"] {
            assert!(messages.contains(part), "{part}: {messages}");
        }
    }

    #[test]
    fn the_signature_reads_as_it_is_written() {
        for (item, signature) in [
            (
                "pub fn f(mut a: Vec<u8>, (b, _): (u32, u8), c: &str) -> Result<(), String> {}",
                "fn(Vec<u8>, (u32, u8), &str) -> Result<(), String>",
            ),
            ("async fn f(a: Cow<'_, str>) {}", "async fn(Cow<'_, str>)"),
        ] {
            assert!(messages(item).contains(&format!("{signature:?}")), "{item}");
        }
    }

    #[test]
    fn attributes_go_to_the_function_they_are_about() {
        for (attr, outer) in [
            ("#[cfg(unix)]", true),
            ("/// text", true),
            ("#[deprecated]", true),
            ("#[must_use = \"\"]", true),
            ("#[expect(dead_code)]", true),
            ("#[clippy::msrv = \"1.88\"]", true),
            ("#[cfg_attr(unix, allow(dead_code))]", true),
            ("#[cfg_attr(unix, cfg_attr(test, doc = \"\"))]", true),
            ("#[inline]", false),
            ("#[tracing::instrument(skip(image))]", false),
            ("#[cfg_attr(feature = \"trace\", tracing::instrument)]", false),
            ("#[unsafe(no_mangle)]", false),
        ] {
            let attrs = syn::parse::Parser::parse_str(Attribute::parse_outer, attr).unwrap();
            assert_eq!(is_outer(&attrs[0]), outer, "{attr}");
        }
    }

    #[test]
    fn a_body_may_come_from_a_macro() {
        let body = proc_macro2::Group::new(proc_macro2::Delimiter::None, quote!({ 1 }));
        let item: Item = syn::parse2(quote!(fn f() -> u32 #body)).unwrap();
        let Item::Fn(function) = item else { panic!("expected a function") };
        assert_eq!(text(function.body), "{ 1 }");
    }
}
