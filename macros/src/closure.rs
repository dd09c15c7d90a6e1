//! `task_fn!`.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::parse::{Parse, ParseStream, Parser};
use syn::{Attribute, Pat, PatType, Token, Type, Visibility};

use crate::expand::{TaskFn, braces};
use crate::options::TaskOptions;
use crate::params::{NAMED_LIFETIME, Param, Position, refuse_type};
use crate::text::Errors;

pub(crate) fn expand(input: TokenStream) -> TokenStream {
    let expanded =
        Parser::parse2(parse, input).and_then(|(options, closure)| task_fn(closure, &options));
    match expanded {
        Ok(task) => {
            let (function, ident) = (task.expand(), &task.ident);
            quote!({ #function #ident })
        }
        Err(error) => {
            // Of any type, so that the mistake is reported once.
            let error = error.into_compile_error();
            quote!({ #error ::core::unreachable!() })
        }
    }
}

/// A closure as it is written; the body stays tokens.
struct Closure {
    is_async: bool,
    params: Vec<PatType>,
    output: Option<Type>,
    body: TokenStream,
}

const EXPECTED: &str = "expected a closure: `task_fn!(|x: u64| -> u64 { x + 1 })`";

fn parse(input: ParseStream<'_>) -> syn::Result<(TaskOptions, Closure)> {
    let options = TaskOptions::parse_leading(input)?;
    Ok((options, input.parse()?))
}

impl Parse for Closure {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let mut errors = Errors::default();
        if input.peek(Token![for]) {
            return Err(input.error(NAMED_LIFETIME));
        }
        if let Some(token) = input.parse::<Option<Token![static]>>()? {
            errors.add(token, "a task is not a coroutine: remove `static`");
        }
        let is_async = input.parse::<Option<Token![async]>>()?.is_some();
        if let Some(token) = input.parse::<Option<Token![move]>>()? {
            errors.add(
                token,
                "a task runs in another process, so it can't capture: remove `move`, and pass what it needs as \
                 parameters",
            );
        }
        let params = if input.peek(Token![||]) {
            input.parse::<Token![||]>()?;
            Vec::new()
        } else if input.peek(Token![|]) {
            params(input, &mut errors)?
        } else {
            return Err(input.error(EXPECTED));
        };
        let output = if input.parse::<Option<Token![->]>>()?.is_some() {
            Some(input.parse::<Type>()?)
        } else {
            None
        };
        let rest = input.fork();
        let body = braces(input, "expected the body of the closure: `{ … }`");
        input.parse::<Option<Token![,]>>()?;
        match &body {
            Ok(_) if input.is_empty() => {}
            Ok(_) => errors.push(input.error("expected nothing after the body of the closure")),
            Err(error) => {
                let expression = rest.parse::<TokenStream>()?;
                errors.push(match output {
                    _ if expression.is_empty() => error.clone(),
                    Some(_) => syn::Error::new_spanned(
                        expression,
                        "the body of a closure with a return type needs braces: `{ … }`",
                    ),
                    None => syn::Error::new_spanned(
                        expression,
                        "the result is decoded in another process, so its type must be written: \
                         `|x: u64| -> u64 { … }`",
                    ),
                });
                // Whatever it is, it has been reported.
                input.parse::<TokenStream>()?;
            }
        }
        errors.finish()?;
        let body = body?.into_token_stream();
        Ok(Self { is_async, params, output, body })
    }
}

/// `|a: A, (b, c): (B, C)|`
fn params(input: ParseStream<'_>, errors: &mut Errors) -> syn::Result<Vec<PatType>> {
    let mut params = Vec::new();
    input.parse::<Token![|]>()?;
    while !input.peek(Token![|]) {
        let attrs = input.call(Attribute::parse_outer)?;
        let pattern = Pat::parse_single(input)?;
        if input.peek(Token![:]) {
            params.push(PatType {
                attrs,
                pat: Box::new(pattern),
                colon_token: input.parse()?,
                ty: input.parse()?,
            });
        } else {
            errors.add(
                pattern,
                "the argument is decoded in another process, so its type must be written: `|x: u64|`",
            );
        }
        if !input.peek(Token![|]) {
            input.parse::<Token![,]>()?;
        }
    }
    input.parse::<Token![|]>()?;
    Ok(params)
}

fn task_fn(closure: Closure, options: &TaskOptions) -> syn::Result<TaskFn> {
    let mut errors = Errors::default();
    let params = Param::all(&closure.params, &mut errors);
    if let Some(output) = &closure.output {
        refuse_type(output, Position::Return, &mut errors);
    }
    errors.finish()?;
    let span = Span::mixed_site();
    Ok(TaskFn {
        krate: options.krate(),
        name: match &options.name {
            Some(name) => name.to_token_stream(),
            None => quote_spanned! {span=>
                ::core::concat!(::core::module_path!(), "::{task at ", ::core::line!(), ":", ::core::column!(), "}")
            },
        },
        outer_attrs: Vec::new(),
        inner_attrs: Vec::new(),
        vis: Visibility::Inherited,
        ident: Ident::new("__task", span),
        is_async: closure.is_async,
        params,
        output: closure.output,
        body: closure.body,
    })
}
