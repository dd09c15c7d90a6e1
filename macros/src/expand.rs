//! What the two kinds of function task share: the outer function, the body, the registration.

use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::parse::ParseStream;
use syn::spanned::Spanned;
use syn::{Attribute, Path, Type, Visibility};

use crate::params::Param;
use crate::text::text;

/// A function that is fit to be a task.
pub(crate) struct TaskFn {
    pub(crate) krate: Path,
    /// The registered name: an expression of type `&'static str`.
    pub(crate) name: TokenStream,
    pub(crate) outer_attrs: Vec<Attribute>,
    pub(crate) inner_attrs: Vec<Attribute>,
    pub(crate) vis: Visibility,
    pub(crate) ident: Ident,
    pub(crate) is_async: bool,
    pub(crate) params: Vec<Param>,
    /// `None` for `()`.
    pub(crate) output: Option<Type>,
    /// With its braces.
    pub(crate) body: TokenStream,
}

impl TaskFn {
    /// The outer function.
    ///
    /// Two blocks keep names apart. The arguments are encoded outside the block that holds the body
    /// function, because an item shadows a parameter of the same name (`fn width(width: u32)`). The
    /// worker's side and the registration are in a block of their own, because the body must not
    /// see their names.
    pub(crate) fn expand(&self) -> TokenStream {
        let Self { krate, outer_attrs, inner_attrs, vis, ident, params, body, .. } = self;
        let outer_params = params.iter().map(Param::outer);
        let inner_params = params.iter().map(Param::inner);
        let output = self.output();
        let inner_output = self.output.as_ref().map(|output| quote!(-> #output));
        let asyncness = self.is_async.then(|| quote!(async));
        let kind = self.is_async.then(|| quote!(, #krate::Async));
        let entry = self.registration().entry();
        let encode = params.iter().map(Param::encode);
        let call = call(output.span());
        let finish = quote_spanned!(call.span()=> #call.finish());
        let private = private(krate);
        let new = quote_spanned!(Span::mixed_site()=> let mut #call = #private::CallEncoder::new);
        quote! {
            #(#outer_attrs)*
            #[inline]
            #vis fn #ident(#(#outer_params),*) -> #krate::Call<#output #kind> {
                #new({
                    #(#inner_attrs)*
                    #asyncness fn #ident(#(#inner_params),*) #inner_output #body
                    #entry
                });
                #(#encode)*
                #finish
            }
        }
    }

    fn registration(&self) -> Registration<'_> {
        let Self { krate, ident, params, .. } = self;
        let output = self.output();
        let at_output = Span::mixed_site().located_at(output.span());
        let decode = params.iter().enumerate().map(|(index, param)| param.decode(index));
        let pass = params.iter().enumerate().map(|(index, param)| param.pass(index));
        let mut body = ident.clone();
        body.set_span(at_output.resolved_at(ident.span()));
        let run = quote_spanned!(at_output=> #body(#(#pass),*));
        let private = private(krate);
        let run = if self.is_async {
            async_run(&private, at_output, &quote!(#(#decode)*), &run)
        } else {
            let put = quote_spanned!(at_output=> __out.put(#run));
            blocking_run(&private, quote!(#(#decode)* #put))
        };
        let types: Vec<String> = params.iter().map(|param| text(param.ty())).collect();
        let arrow = self.output.as_ref().map(|output| format!(" -> {}", text(output)));
        Registration {
            krate,
            name: self.name.clone(),
            signature: format!(
                "{}fn({}){}",
                if self.is_async { "async " } else { "" },
                types.join(", "),
                arrow.unwrap_or_default(),
            ),
            is_async: self.is_async,
            run,
        }
    }

    fn output(&self) -> TokenStream {
        match &self.output {
            Some(output) => output.to_token_stream(),
            None => quote_spanned!(self.ident.span()=> ()),
        }
    }
}

/// What the registry learns of a task, and the worker's side of it.
pub(crate) struct Registration<'a> {
    pub(crate) krate: &'a Path,
    pub(crate) name: TokenStream,
    pub(crate) signature: String,
    pub(crate) is_async: bool,
    /// The item `fn __run`.
    pub(crate) run: TokenStream,
}

impl Registration<'_> {
    /// An expression of type `&'static Entry`.
    pub(crate) fn entry(&self) -> TokenStream {
        let Self { krate, name, signature, run, .. } = self;
        let span = Span::mixed_site();
        let private = private(krate);
        let kind = Ident::new(if self.is_async { "asynchronous" } else { "blocking" }, span);
        // The submission is a macro of `inventory` that expands to a `const _`, which is why it may
        // be here.
        quote_spanned! {span=>
            {
                #run
                static __ENTRY: #private::Entry = #private::Entry::#kind(
                    #name,
                    ::core::concat!(::core::file!(), ":", ::core::line!(), ":", ::core::column!()),
                    #signature,
                    __run,
                );
                #private::inventory::submit! { #private::Registration(&__ENTRY) }
                &__ENTRY
            }
        }
    }
}

/// The worker's side of a blocking task; the statements end in an expression of its result.
pub(crate) fn blocking_run(private: &TokenStream, statements: TokenStream) -> TokenStream {
    quote_spanned! {Span::mixed_site()=>
        fn __run(
            __args: &mut #private::Args<'_>,
            __out: &mut #private::Output,
        ) -> ::core::result::Result<(), #private::Fault> {
            #statements
        }
    }
}

/// The worker's side of an async task, whose future is the expression `run`; one that is not
/// `Send` is reported at `at`.
pub(crate) fn async_run(
    private: &TokenStream,
    at: Span,
    decode: &TokenStream,
    run: &TokenStream,
) -> TokenStream {
    let span = Span::mixed_site();
    let awaited = quote_spanned!(at=> let __result = #run.await;);
    let put = quote_spanned!(at=> __out.put(__result)?;);
    let statements = quote_spanned! {span=>
        let mut __owned = __args;
        let mut __args = __owned.args();
        #decode
        #awaited
        let mut __out = #private::Output::new();
        #put
        ::core::result::Result::Ok(__out.into_encoded())
    };
    let boxed = quote_spanned!(at=> ::std::boxed::Box::pin(async move { #statements }));
    quote_spanned! {span=>
        fn __run(__args: #private::OwnedArgs) -> #private::BoxFuture { #boxed }
    }
}

/// The variable that collects the arguments.
pub(crate) fn call(span: Span) -> Ident {
    Ident::new("__call", Span::mixed_site().located_at(span))
}

/// The registered name of something in the module of the macro call.
pub(crate) fn path_name(last: &str) -> TokenStream {
    quote_spanned!(Span::mixed_site()=> ::core::concat!(::core::module_path!(), "::", #last))
}

/// The braces of a function, as they are or as a `macro_rules!` macro passed them in `$body`.
pub(crate) fn braces(input: ParseStream<'_>, expected: &str) -> syn::Result<Group> {
    let start = input.span();
    let mut token = input.parse::<Option<TokenTree>>()?;
    while let Some(TokenTree::Group(group)) = token {
        match group.delimiter() {
            Delimiter::Brace => return Ok(group),
            Delimiter::None => {
                let mut inside = group.stream().into_iter();
                token = inside.next().filter(|_| inside.next().is_none());
            }
            _ => break,
        }
    }
    Err(syn::Error::new(start, expected))
}

/// The names of `procpool` that only the macros use.
pub(crate) fn private(krate: &Path) -> TokenStream {
    quote!(#krate::__private)
}
