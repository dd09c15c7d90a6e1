//! One method, or constructor, of a shared type.

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Attribute, FnArg, GenericParam, Path, Receiver, ReturnType, Type, Visibility};

use crate::expand::{call, private};
use crate::params::{NAMED_LIFETIME, Param, Position, refuse_type};
use crate::shared::Function;
use crate::text::{Errors, text};

/// What it does to the object.
#[derive(Clone, Copy)]
pub(crate) enum Role {
    Reads,
    Writes,
    /// It makes one.
    Makes,
}

pub(crate) struct Method {
    /// Those that users of the proxy see.
    attrs: Vec<Attribute>,
    conditions: Vec<Attribute>,
    pub(crate) vis: Visibility,
    ident: Ident,
    pub(crate) role: Role,
    is_async: bool,
    params: Vec<Param>,
    output: TokenStream,
    /// By which processes agree on it.
    signature: String,
}

const SKIP: &str = "or leave it out with `#[shared(skip)]`";

impl Method {
    /// One that is fit to be called from another process, or what is wrong with it in `errors`.
    pub(crate) fn of(function: &Function, ty: &Type, errors: &mut Errors) -> Option<Self> {
        let mut wrong = Errors::default();
        refuse_signature(function, &mut wrong);
        let sig = &function.sig;
        let role = role(function, ty, &mut wrong);
        if let Err(error) = wrong.finish() {
            // With these, the types are wrong only in consequence.
            errors.push(error);
            return None;
        }
        let mut wrong = Errors::default();
        let typed = sig.inputs.iter().filter_map(|input| match input {
            FnArg::Typed(param) => {
                let mut param = param.clone();
                *param.ty = without_self(&param.ty, ty, &mut wrong);
                Some(param)
            }
            FnArg::Receiver(_) => None,
        });
        let typed: Vec<_> = typed.collect();
        let params = Param::all(&typed, &mut wrong);
        let output = match &sig.output {
            ReturnType::Default => quote_spanned!(sig.ident.span()=> ()),
            ReturnType::Type(_, output) => {
                let output = without_self(output, ty, &mut wrong);
                refuse_type(&output, Position::Return, &mut wrong);
                output.into_token_stream()
            }
        };
        if let Err(error) = wrong.finish() {
            errors.push(error);
            return None;
        }
        let named = |name: &'static str| {
            let attrs = function.attrs.iter().filter(move |attr| attr.path().is_ident(name));
            attrs.cloned()
        };
        let types: Vec<String> = params.iter().map(|param| text(param.ty())).collect();
        let signature = format!("{}({}) -> {}", sig.ident.unraw(), types.join(", "), text(&output));
        Some(Method {
            attrs: named("doc").chain(named("deprecated")).collect(),
            conditions: named("cfg").collect(),
            vis: function.vis.clone(),
            ident: sig.ident.clone(),
            role: role?,
            is_async: sig.asyncness.is_some(),
            params,
            output,
            signature,
        })
    }

    /// The element of the table of methods, or of that of constructors.
    pub(crate) fn entry(&self, private: &TokenStream, ty: &Type) -> TokenStream {
        let span = Span::mixed_site();
        let Self { ident, conditions, signature, .. } = self;
        let at = span.located_at(self.output.span());
        let decode = self.params.iter().enumerate().map(|(index, param)| param.decode(index));
        let pass: Vec<_> =
            self.params.iter().enumerate().map(|(index, param)| param.pass(index)).collect();
        let this = Ident::new("__this", span);
        let object = (!matches!(self.role, Role::Makes)).then(|| quote!(#this,));
        let awaited = self.is_async.then(|| quote_spanned!(at=> .await));
        let run = quote_spanned!(at=> let __result = <#ty>::#ident(#object #(#pass),*)#awaited;);
        let put = quote_spanned!(at=> __out.put(__result)?;);
        let start = quote_spanned! {span=>
            let mut __owned = __owned;
            let mut __args = __owned.args();
            #(#decode)*
            #run
        };
        let fault = quote!(#private::Fault);
        if matches!(self.role, Role::Makes) {
            return quote_spanned! {span=>
                #(#conditions)*
                {
                    fn __run(
                        __owned: #private::OwnedArgs,
                    ) -> ::core::result::Result<#ty, #fault> {
                        #start
                        ::core::result::Result::Ok(__result)
                    }
                    #private::Maker::new(#signature, __run)
                }
            };
        }
        let statements = quote_spanned! {span=>
            #start
            let mut __out = #private::Output::new();
            #put
            ::core::result::Result::Ok(__out.into_encoded())
        };
        let done = quote!(::core::result::Result<#private::Encoded, #fault>);
        let writes = matches!(self.role, Role::Writes);
        let mutability = writes.then(|| quote!(mut));
        let kind = match (writes, self.is_async) {
            (false, false) => "reads",
            (true, false) => "writes",
            (false, true) => "reads_async",
            (true, true) => "writes_async",
        };
        let kind = Ident::new(kind, span);
        let function = if self.is_async {
            let boxed = quote_spanned!(at=> ::std::boxed::Box::pin(async move { #statements }));
            quote_spanned! {span=>
                fn __run<'__a>(
                    #this: &'__a #mutability #ty,
                    __owned: #private::OwnedArgs,
                ) -> ::core::pin::Pin<::std::boxed::Box<
                    dyn ::core::future::Future<Output = #done> + ::core::marker::Send + '__a,
                >> {
                    #boxed
                }
            }
        } else {
            quote_spanned! {span=>
                fn __run(#this: &#mutability #ty, __owned: #private::OwnedArgs) -> #done {
                    #statements
                }
            }
        };
        quote_spanned! {span=>
            #(#conditions)*
            {
                #function
                #private::Method::#kind(#signature, __run)
            }
        }
    }

    /// The two methods of the proxy.
    pub(crate) fn outer(&self, krate: &Path, proxy: &Ident) -> TokenStream {
        let span = Span::mixed_site();
        let Self { attrs, conditions, vis, ident, params, signature, .. } = self;
        let private = private(krate);
        let params_outer: Vec<_> = params.iter().map(Param::outer).collect();
        let names: Vec<_> = params.iter().map(Param::ident).collect();
        let encode = params.iter().map(Param::encode);
        let call = call(self.output.span());
        let args = quote_spanned!(span=> |#call: &mut #private::ArgsEncoder| { #(#encode)* });
        let id = quote_spanned!(span=> const { #private::id(#signature) });
        // Apart from a parameter of that name by its hygiene.
        let manager = Ident::new("manager", span);
        let (first, object, output, run) = if matches!(self.role, Role::Makes) {
            let run = quote_spanned!(span=> #private::make::<#proxy>(#manager, #id, #args));
            let first = quote_spanned!(span=> #manager: &#krate::ManagerHandle);
            (first, quote!(#manager,), proxy.to_token_stream(), run)
        } else {
            let output = self.output.clone();
            let at = span.located_at(output.span());
            let this = quote!(self);
            let run =
                quote_spanned!(at=> #private::Wraps::inner(#this).call::<#output>(#id, #args));
            (quote!(&#this), quote!(#this,), output, run)
        };
        let blocking = format_ident!("blocking_{}", ident.unraw(), span = ident.span());
        let doc = format!("[`{ident}`](Self::{ident}) on a thread that may wait.");
        let doc_errors = format!("As [`{ident}`](Self::{ident}).");
        quote_spanned! {span=>
            #(#conditions)*
            #(#attrs)*
            #vis fn #ident(#first, #(#params_outer),*) -> #krate::manager::Request<#output> {
                #run
            }

            #(#conditions)*
            #[doc = #doc]
            ///
            /// # Errors
            #[doc = #doc_errors]
            #vis fn #blocking(
                #first,
                #(#params_outer),*
            ) -> ::core::result::Result<#output, #krate::ManagerError> {
                #private::block(Self::#ident(#object #(#names),*))
            }
        }
    }
}

/// What it does, by its receiver.
fn role(function: &Function, ty: &Type, errors: &mut Errors) -> Option<Role> {
    let sig = &function.sig;
    if let Some(receiver) = sig.receiver() {
        return receiver_role(receiver, errors);
    }
    let makes = matches!(&sig.output, ReturnType::Type(_, output)
        if text(output) == "Self" || text(output) == text(ty));
    if !makes {
        errors.add(
            &sig.ident,
            format!(
                "a function without `self` makes an object in the manager, so it returns `Self`: add `&self`, return \
                 `Self`, {SKIP}"
            ),
        );
    } else if let Some(token) = sig.asyncness {
        errors.add(
            token,
            format!(
                "a constructor does not wait: remove `async` and wait in an `async` method of the object, {SKIP}"
            ),
        );
    }
    Some(Role::Makes)
}

fn receiver_role(receiver: &Receiver, errors: &mut Errors) -> Option<Role> {
    match &receiver.reference {
        Some((_, lifetime)) if receiver.colon_token.is_none() => {
            if let Some(lifetime) = lifetime {
                errors.add(lifetime, NAMED_LIFETIME);
            }
            Some(if receiver.mutability.is_some() { Role::Writes } else { Role::Reads })
        }
        _ => {
            errors.add(
                receiver,
                format!("the object stays in the manager: take `&self` or `&mut self`, {SKIP}"),
            );
            None
        }
    }
}

fn refuse_signature(function: &Function, errors: &mut Errors) {
    let sig = &function.sig;
    if let Some(token) = sig.constness {
        errors.add(
            token,
            format!("it runs in the manager, never while compiling: remove `const`, {SKIP}"),
        );
    }
    if let Some(token) = sig.unsafety {
        errors.add(
            token,
            format!(
                "another process can't keep the promises of an unsafe fn: remove `unsafe`, {SKIP}"
            ),
        );
    }
    if let Some(abi) = &sig.abi {
        errors
            .add(abi, format!("it is called by name, not through an ABI: remove `extern`, {SKIP}"));
    }
    if let Some(variadic) = &sig.variadic {
        errors.add(
            variadic,
            "a method has a fixed number of parameters: take a `Vec<T>` instead of `...`",
        );
    }
    let generic = format!(
        "a method is looked up by name in another process, so it can't be generic: write one method per type, {SKIP}"
    );
    for param in &sig.generics.params {
        match param {
            GenericParam::Lifetime(lifetime) => errors.add(lifetime, NAMED_LIFETIME),
            GenericParam::Type(_) | GenericParam::Const(_) => errors.add(param, &generic),
        }
    }
    if let Some(clause) = &sig.generics.where_clause {
        errors.add(
            clause,
            "the method isn't generic, so it has nothing to bound: remove the `where` clause",
        );
    }
    for input in &sig.inputs {
        if let FnArg::Typed(param) = input
            && let Type::ImplTrait(ty) = &*param.ty
        {
            errors.add(ty, &generic);
        }
    }
}

/// A type in which `Self` has its name: in the proxy it would be another.
fn without_self(of: &Type, ty: &Type, errors: &mut Errors) -> Type {
    fn replace(tokens: TokenStream, ty: &Type) -> TokenStream {
        let replaced = tokens.into_iter().map(|token| match token {
            TokenTree::Ident(ident) if ident == "Self" => {
                let ty = quote_spanned!(ident.span()=> #ty);
                ty.into_token_stream()
            }
            TokenTree::Group(group) => {
                let mut inside =
                    proc_macro2::Group::new(group.delimiter(), replace(group.stream(), ty));
                inside.set_span(group.span());
                TokenTree::Group(inside).into()
            }
            other => other.into(),
        });
        replaced.collect()
    }
    syn::parse2(replace(of.to_token_stream(), ty)).unwrap_or_else(|error| {
        errors.push(error);
        of.clone()
    })
}
