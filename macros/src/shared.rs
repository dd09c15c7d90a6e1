//! `#[shared]`.

use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::parse::{Parse, ParseStream, Parser};
use syn::{
    Attribute, Generics, ImplItem, PathArguments, Signature, Token, Type, Visibility, WhereClause,
};

use crate::expand::{braces, path_name, private};
use crate::method::{Method, Role};
use crate::options::TaskOptions;
use crate::text::{Errors, text};

pub(crate) fn expand(options: TokenStream, item: TokenStream) -> TokenStream {
    let mut parsed: Impl = match syn::parse2(item.clone()) {
        Ok(parsed) => parsed,
        Err(error) => {
            // What is no block at all stays too.
            let is_impl = |token| matches!(token, TokenTree::Ident(ident) if ident == "impl");
            let kept = (!item.clone().into_iter().any(is_impl)).then_some(item);
            let error = error.into_compile_error();
            return quote!(#error #kept);
        }
    };
    let expanded = parsed.expose().and_then(|exposed| {
        let options = TaskOptions::parse(options)?;
        exposed.expand(&parsed, &options)
    });
    // It stays, so that one mistake does not make every mention of a method an error as well.
    let added = expanded.unwrap_or_else(syn::Error::into_compile_error);
    quote!(#parsed #added)
}

/// The block as it is written; bodies stay tokens.
struct Impl {
    attrs: Vec<Attribute>,
    unsafety: Option<Token![unsafe]>,
    generics: Generics,
    /// What is between `impl` and the type.
    of: Option<(Type, Token![for])>,
    ty: Type,
    inner_attrs: Vec<Attribute>,
    items: Vec<Item>,
    braces: Span,
}

enum Item {
    Function(Box<Function>),
    Other(TokenStream),
}

/// A function of the block.
pub(crate) struct Function {
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) vis: Visibility,
    pub(crate) sig: Signature,
    body: TokenStream,
    /// It has `#[shared(skip)]`.
    skip: bool,
}

const EXPECTED: &str =
    "expected an `impl` block of a type: `#[procpool::shared] impl Counter { … }`";

impl Parse for Impl {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let attrs = input.call(Attribute::parse_outer)?;
        let unsafety = input.parse()?;
        if !input.peek(Token![impl]) {
            return Err(input.error(EXPECTED));
        }
        input.parse::<Token![impl]>()?;
        let mut generics = input.parse::<Generics>()?;
        let first = input.parse::<Type>()?;
        let (of, ty) = match input.parse::<Option<Token![for]>>()? {
            Some(token) => (Some((first, token)), input.parse()?),
            None => (None, first),
        };
        generics.where_clause = input.parse::<Option<WhereClause>>()?;
        let body = braces(input, EXPECTED)?;
        let inside = |input: ParseStream<'_>| {
            let inner_attrs = input.call(Attribute::parse_inner)?;
            let mut items = Vec::new();
            while !input.is_empty() {
                items.push(input.parse()?);
            }
            Ok((inner_attrs, items))
        };
        let (inner_attrs, items) = inside.parse2(body.stream())?;
        let braces = body.span();
        Ok(Self { attrs, unsafety, generics, of, ty, inner_attrs, items, braces })
    }
}

impl Parse for Item {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let ahead = input.fork();
        ahead.call(Attribute::parse_outer)?;
        ahead.parse::<Visibility>()?;
        // `const N: …` is no function, `const fn` is one.
        let is_fn = ahead.peek(Token![fn])
            || ahead.peek2(Token![fn])
            || [ahead.peek(Token![async]), ahead.peek(Token![unsafe]), ahead.peek(Token![extern])]
                .contains(&true)
            || (ahead.peek(Token![const])
                && (ahead.peek2(Token![async])
                    || ahead.peek2(Token![unsafe])
                    || ahead.peek2(Token![extern])));
        if !is_fn {
            return input.parse::<ImplItem>().map(|item| Self::Other(item.into_token_stream()));
        }
        Ok(Self::Function(Box::new(Function {
            attrs: input.call(Attribute::parse_outer)?,
            vis: input.parse()?,
            sig: input.parse()?,
            body: braces(input, "expected the body of the function")?.into_token_stream(),
            skip: false,
        })))
    }
}

impl ToTokens for Impl {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        let Self { attrs, unsafety, generics, ty, inner_attrs, items, .. } = self;
        let of = self.of.as_ref().map(|(of, token)| quote!(#of #token));
        let clause = &generics.where_clause;
        let items = items.iter().map(|item| match item {
            Item::Function(function) => {
                let Function { attrs, vis, sig, body, .. } = &**function;
                quote!(#(#attrs)* #vis #sig #body)
            }
            Item::Other(tokens) => tokens.clone(),
        });
        let mut body = Group::new(Delimiter::Brace, quote!(#(#inner_attrs)* #(#items)*));
        body.set_span(self.braces);
        tokens.extend(quote!(#(#attrs)* #unsafety impl #generics #of #ty #clause #body));
    }
}

impl Impl {
    /// The type's name, and what is called; takes the attributes that are ours off.
    fn expose(&mut self) -> syn::Result<Exposed> {
        let mut errors = Errors::default();
        for item in &mut self.items {
            if let Item::Function(function) = item {
                function.skip = take_skip(&mut function.attrs, &mut errors);
            }
        }
        let ident = self.refuse(&mut errors);
        // With these, the methods are wrong only in consequence.
        errors.finish()?;
        let mut errors = Errors::default();
        let mut methods = Vec::new();
        for item in &self.items {
            if let Item::Function(function) = item
                && !function.skip
            {
                methods.extend(Method::of(function, &self.ty, &mut errors));
            }
        }
        errors.finish()?;
        match ident {
            Some(ident) if !methods.is_empty() => Ok(Exposed { ident, methods }),
            _ => Err(syn::Error::new_spanned(
                &self.ty,
                "there is nothing that other processes could call: write a method with `&self` or `&mut self` in this \
                 block, or remove the attribute",
            )),
        }
    }

    /// Adds what is wrong with the head of the block to `errors`; the name of the type.
    fn refuse(&self, errors: &mut Errors) -> Option<Ident> {
        if let Some(unsafety) = self.unsafety {
            errors.add(unsafety, "only traits are unsafe to implement: remove `unsafe`");
        }
        if let Some((of, _)) = &self.of {
            errors.add(
                of,
                "the methods of a trait can't be shared: write methods in an `impl` block of the type that call them",
            );
        }
        const GENERIC: &str = "a shared type is looked up by name in another process, so it can't be generic: put \
                               the attribute on a type of its own that has the generic one inside";
        if !self.generics.params.is_empty() {
            errors.add(&self.generics, GENERIC);
        } else if let Some(clause) = &self.generics.where_clause {
            errors.add(clause, "a shared type isn't generic: remove the `where` clause");
        }
        match &self.ty {
            Type::Path(path) if path.qself.is_none() => {
                let segments = &path.path.segments;
                let arguments =
                    segments.iter().any(|s| !matches!(s.arguments, PathArguments::None));
                if arguments && self.generics.params.is_empty() {
                    errors.add(&self.ty, GENERIC);
                }
                segments.last().map(|last| last.ident.clone())
            }
            other => {
                errors.add(
                    other,
                    "expected the name of a type, such as a struct: put the attribute on a struct that has this inside",
                );
                None
            }
        }
    }
}

/// Takes `#[shared(skip)]` off; whether it was there.
fn take_skip(attrs: &mut Vec<Attribute>, errors: &mut Errors) -> bool {
    let mut skip = false;
    attrs.retain(|attr| {
        if attr.path().segments.last().is_none_or(|last| last.ident != "shared") {
            return true;
        }
        match attr.parse_args::<Ident>() {
            Ok(word) if word == "skip" => skip = true,
            _ => errors.add(attr, "expected `#[shared(skip)]`, which leaves the function out"),
        }
        false
    });
    skip
}

/// What other processes have of the type.
struct Exposed {
    ident: Ident,
    methods: Vec<Method>,
}

impl Exposed {
    fn expand(&self, block: &Impl, options: &TaskOptions) -> syn::Result<TokenStream> {
        let span = Span::mixed_site();
        let (krate, ty) = (options.krate(), &block.ty);
        let private = private(&krate);
        let proxy = format_ident!("{}Proxy", self.ident);
        let name = match &options.name {
            Some(name) => name.to_token_stream(),
            None => path_name(&text(ty)),
        };
        let conditions: Vec<_> =
            block.attrs.iter().filter(|attr| attr.path().is_ident("cfg")).collect();
        let (makers, methods): (Vec<_>, Vec<_>) =
            self.methods.iter().partition(|method| matches!(method.role, Role::Makes));
        let makers = makers.iter().map(|method| method.entry(&private, ty));
        let methods = methods.iter().map(|method| method.entry(&private, ty));
        let outer = self.methods.iter().map(|method| method.outer(&krate, &proxy));
        let is_public = self.methods.iter().any(|m| matches!(m.vis, Visibility::Public(_)));
        let vis = if is_public { quote!(pub) } else { quote!(pub(crate)) };
        let doc = format!("Stands for a [`{}`] in a manager.", self.ident);
        let allow = quote_spanned! {span=>
            #[allow(unused, deprecated, clippy::all, clippy::pedantic)]
        };
        Ok(quote_spanned! {span=>
            #(#conditions)*
            #allow
            impl #private::Shared for #ty {
                type Proxy = #proxy;
                const NAME: &'static str = #name;
                const METHODS: &'static [#private::Method<Self>] = &[#(#methods),*];
                const MAKERS: &'static [#private::Maker<Self>] = &[#(#makers),*];

                fn by_value(
                    __args: #private::OwnedArgs,
                ) -> ::core::option::Option<::core::result::Result<Self, #private::Fault>> {
                    use #private::NotByValue as _;
                    #private::ByValue::<#ty>::decode(__args)
                }
            }

            #(#conditions)*
            #private::inventory::submit! {
                #private::SharedType::of::<#ty>(
                    ::core::concat!(::core::file!(), ":", ::core::line!(), ":", ::core::column!()),
                )
            }

            #(#conditions)*
            #krate::__own_proxy! {
                #[doc = #doc]
                #[allow(dead_code)]
                #vis struct #proxy, #name
            }

            #(#conditions)*
            #allow
            impl #proxy {
                #(#outer)*
            }
        })
    }
}
