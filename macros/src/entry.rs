//! `#[main]` and `#[test]`.

use proc_macro2::{Group, TokenStream};
use quote::quote;
use syn::parse::{Parse, ParseStream};
use syn::{Attribute, Signature, Token, Visibility};

use crate::expand::braces;
use crate::options::EntryOptions;
use crate::text::Errors;

pub(crate) fn main(options: TokenStream, item: TokenStream) -> TokenStream {
    let (ident, expanded) = match syn::parse2::<Function>(item) {
        Ok(function) => {
            let ident = function.sig.ident.clone();
            (
                Some(ident),
                EntryOptions::parse(options).and_then(|options| expand_main(function, &options)),
            )
        }
        Err(error) => (None, Err(error)),
    };
    expanded.unwrap_or_else(|error| {
        // With an empty `main`, so that its absence is not a second error.
        let error = error.into_compile_error();
        let empty = ident.map(|ident| quote!(fn #ident() {}));
        quote!(#error #empty)
    })
}

pub(crate) fn test(options: TokenStream, item: TokenStream) -> TokenStream {
    EntryOptions::parse(options)
        .and_then(|options| expand_test(syn::parse2(item)?, &options))
        .unwrap_or_else(syn::Error::into_compile_error)
}

/// A function as it is written; the body stays tokens.
struct Function {
    attrs: Vec<Attribute>,
    vis: Visibility,
    sig: Signature,
    body: Group,
}

impl Parse for Function {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let attrs = input.call(Attribute::parse_outer)?;
        let vis = input.parse()?;
        let start = input.span();
        let is_fn =
            input.peek(Token![fn]) || (input.peek(Token![async]) && input.peek2(Token![fn]));
        let sig = input.parse().map_err(|error| {
            // A function that is wrong inside has its own error.
            if is_fn { error } else { syn::Error::new(start, "expected a fn or an async fn") }
        })?;
        let body = braces(input, "expected the body of the function")?;
        Ok(Self { attrs, vis, sig, body })
    }
}

fn expand_main(function: Function, options: &EntryOptions) -> syn::Result<TokenStream> {
    let mut errors = Errors::default();
    refuse(&function.sig, "the function a program starts with", &mut errors);
    if function.sig.asyncness.is_none()
        && (options.current_thread.is_some() || options.worker_threads.is_some())
    {
        errors.add(
            function.sig.fn_token,
            "the options are those of an async runtime: make it an `async fn`, or remove them",
        );
    }
    let runtime = runtime(options, false, &mut errors);
    errors.finish()?;

    let krate = options.krate();
    let Function { attrs, vis, sig, body } = &function;
    let (ident, output) = (&sig.ident, &sig.output);
    Ok(if sig.asyncness.is_some() {
        quote! {
            #(#attrs)*
            #vis fn #ident() #output {
                async fn #ident() #output #body
                #krate::init();
                #krate::__private::block_on(#runtime, #ident())
            }
        }
    } else {
        quote! {
            #(#attrs)*
            #vis fn #ident() #output {
                fn #ident() #output #body
                #krate::init();
                #ident()
            }
        }
    })
}

fn expand_test(function: Function, options: &EntryOptions) -> syn::Result<TokenStream> {
    let mut errors = Errors::default();
    refuse(&function.sig, "a test", &mut errors);
    if function.sig.asyncness.is_none() {
        errors.add(
            function.sig.fn_token,
            "expected an `async fn`: a plain `fn` needs only `#[test]`",
        );
    }
    for attr in function.attrs.iter().filter(|attr| attr.path().is_ident("test")) {
        errors
            .add(attr, "`#[procpool::test]` makes it a test already: remove the second attribute");
    }
    let runtime = runtime(options, true, &mut errors);
    errors.finish()?;

    let krate = options.krate();
    let Function { attrs, vis, sig, body } = &function;
    let (ident, output) = (&sig.ident, &sig.output);
    Ok(quote! {
        #[::core::prelude::v1::test]
        #(#attrs)*
        #vis fn #ident() #output {
            async fn #ident() #output #body
            #krate::__private::block_on(#runtime, #ident())
        }
    })
}

/// The `RuntimeOptions` of the expansion.
fn runtime(
    options: &EntryOptions,
    current_thread_by_default: bool,
    errors: &mut Errors,
) -> TokenStream {
    let current_thread = options.current_thread.unwrap_or(current_thread_by_default);
    let worker_threads = match &options.worker_threads {
        Some(count) if current_thread => {
            errors.add(
                count,
                "a `current_thread` runtime has one thread: remove `worker_threads`, or add `flavor = \"multi_thread\"`",
            );
            quote!(::core::option::Option::None)
        }
        Some(count) => quote!(::core::option::Option::Some(#count)),
        None => quote!(::core::option::Option::None),
    };
    let krate = options.krate();
    quote! {
        #krate::__private::RuntimeOptions { current_thread: #current_thread, worker_threads: #worker_threads }
    }
}

fn refuse(sig: &Signature, what: &str, errors: &mut Errors) {
    if !sig.inputs.is_empty() {
        errors.add(&sig.inputs, format!("{what} has no parameters: remove them"));
    }
    if !sig.generics.params.is_empty() {
        errors.add(&sig.generics, format!("{what} can't be generic: remove the parameters"));
    }
    if let Some(clause) = &sig.generics.where_clause {
        errors.add(clause, format!("{what} can't be generic: remove the `where` clause"));
    }
    if let Some(token) = sig.constness {
        errors.add(token, format!("{what} can't be const: remove `const`"));
    }
    if let Some(token) = sig.unsafety {
        errors.add(token, format!("{what} can't be unsafe: remove `unsafe`"));
    }
    if let Some(abi) = &sig.abi {
        errors.add(abi, format!("{what} can't be extern: remove `extern`"));
    }
}
