//! `#[task]`: from tokens to tokens. All that is wrong is said with its cure.

use proc_macro2::TokenStream;
use quote::quote;
use syn::meta::ParseNestedMeta;
use syn::parse::Parser as _;
use syn::spanned::Spanned as _;
use syn::{Error, FnArg, Ident, ItemFn, LitInt, LitStr, Result, ReturnType, Type};

use super::durations::read_duration;

/// The form that a task has.
const FORM: &str = "async fn send_email(payload: SendEmail, ctx: JobContext) -> Result<()>";
/// What may stand in the parentheses.
const OPTIONS: &str = "name = \"..\", max_attempts = 5, timeout = \"30s\", queue = \"..\", backoff = \"10s\"";
/// As the library has it.
const LONGEST_NAME: usize = 200;

/// What stands in the parentheses.
#[derive(Default)]
struct Options {
    name: Option<String>,
    /// Calls of `TaskOptions`, in order.
    calls: Vec<TokenStream>,
    seen: Vec<String>,
}

/// Writes the task beside its function.
pub(crate) fn expand(arguments: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let mut options = Options::default();
    syn::meta::parser(|meta| options.read(&meta)).parse2(arguments)?;
    let function: ItemFn = syn::parse2(item)
        .map_err(|error| Error::new(error.span(), format!("#[task] stands above an async function: {FORM}")))?;
    let (payload, takes_context) = check(&function)?;
    let ItemFn { attrs, vis, sig, block, .. } = &function;
    let ident = &sig.ident;
    let name = options.name.unwrap_or_else(|| ident.to_string().trim_start_matches("r#").to_owned());
    let (calls, inputs, output) = (&options.calls, &sig.inputs, &sig.output);
    let context = takes_context.then(|| quote!(, ctx));
    let unused = (!takes_context).then(|| quote!(let _ = ctx;));
    let cfgs = attrs.iter().filter(|attr| attr.path().is_ident("cfg"));
    let cfgs: Vec<_> = cfgs.collect();
    let attrs = attrs.iter().filter(|attr| !attr.path().is_ident("cfg"));
    let jobs = quote!(::app_kernel::feature::jobs);
    let doc = format!("The task `{name}`: what its jobs do is [`{ident}::call`].");
    Ok(quote! {
        #(#cfgs)*
        #[doc = #doc]
        #[allow(non_camel_case_types)]
        #[derive(Debug, Clone, Copy)]
        #vis struct #ident;

        #(#cfgs)*
        impl #ident {
            #(#attrs)*
            #vis async fn call(#inputs) #output #block
        }

        #(#cfgs)*
        impl #jobs::Task for #ident {
            type Payload = #payload;
            const NAME: &'static str = #name;

            fn options() -> #jobs::TaskOptions {
                #jobs::TaskOptions::default() #(#calls)*
            }
        }

        #(#cfgs)*
        impl #jobs::RunTask for #ident {
            fn run(
                payload: #payload,
                ctx: #jobs::JobContext,
            ) -> #jobs::written::BoxFuture<'static, ::core::result::Result<#jobs::written::Json, #jobs::JobError>> {
                #unused
                ::std::boxed::Box::pin(async move { #jobs::written::to_answer(#ident::call(payload #context).await) })
            }
        }
    })
}

/// The type of the payload, and whether the function takes the context too.
fn check(function: &ItemFn) -> Result<(&Type, bool)> {
    let sig = &function.sig;
    if sig.asyncness.is_none() {
        return Err(Error::new_spanned(sig.fn_token, format!("a task is async; write `async fn {}`", sig.ident)));
    }
    if !sig.generics.params.is_empty() || sig.generics.where_clause.is_some() {
        return Err(Error::new_spanned(
            &sig.generics,
            "a task is not generic: its name stands for one function; write a task for each type",
        ));
    }
    if matches!(sig.output, ReturnType::Default) {
        let end = sig.inputs.span();
        return Err(Error::new(end, format!("a task says whether it worked; write `-> Result<()>` or more: {FORM}")));
    }
    let mut types = Vec::new();
    for input in &sig.inputs {
        match input {
            FnArg::Typed(input) => types.push(&*input.ty),
            FnArg::Receiver(receiver) => {
                return Err(Error::new_spanned(receiver, format!("a task has no self; take the payload: {FORM}")));
            }
        }
    }
    match types[..] {
        [payload] => check_payload(payload).map(|payload| (payload, false)),
        [payload, _context] => check_payload(payload).map(|payload| (payload, true)),
        _ => Err(Error::new_spanned(
            &sig.ident,
            format!("a task takes its payload and, if it wants, the context: {FORM}"),
        )),
    }
}

/// What comes out of a row is owned.
fn check_payload(payload: &Type) -> Result<&Type> {
    match payload {
        Type::Reference(reference) => Err(Error::new_spanned(
            reference,
            "a payload is read from the database, so the task owns it; write the type without `&`",
        )),
        Type::ImplTrait(_) => Err(Error::new_spanned(payload, "a payload has one type; name it")),
        payload => Ok(payload),
    }
}

impl Options {
    fn read(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        let key = meta.path.get_ident().map(Ident::to_string).unwrap_or_default();
        if self.seen.contains(&key) {
            return Err(meta.error(format!("`{key}` is said twice; keep one")));
        }
        match key.as_str() {
            "name" => {
                let text: LitStr = meta.value()?.parse()?;
                self.name = Some(checked_name(&text, "a task's name")?);
            }
            "queue" => {
                let text: LitStr = meta.value()?.parse()?;
                let queue = checked_name(&text, "a queue's name")?;
                self.calls.push(quote!(.queue(#queue)));
            }
            "max_attempts" => {
                let number: LitInt = meta.value()?.parse()?;
                let tries = number.base10_parse::<u32>().ok().filter(|tries| *tries > 0);
                let tries =
                    tries.ok_or_else(|| Error::new(number.span(), "a job is tried once at least: max_attempts = 1"))?;
                self.calls.push(quote!(.max_attempts(#tries)));
            }
            "timeout" => {
                let millis = read_duration(&meta.value()?.parse()?)?;
                self.calls.push(quote!(.timeout(::core::time::Duration::from_millis(#millis))));
            }
            "backoff" => {
                let millis = read_duration(&meta.value()?.parse()?)?;
                self.calls.push(quote!(.backoff(::core::time::Duration::from_millis(#millis))));
            }
            _ => return Err(meta.error(format!("#[task] does not know this; it knows {OPTIONS}"))),
        }
        self.seen.push(key);
        Ok(())
    }
}

fn checked_name(text: &LitStr, what: &str) -> Result<String> {
    let name = text.value();
    let fits = |c: char| c.is_ascii_alphanumeric() || "_-.:/".contains(c);
    if (1..=LONGEST_NAME).contains(&name.len()) && name.chars().all(fits) {
        return Ok(name);
    }
    Err(Error::new(
        text.span(),
        format!("{what} has 1 to {LONGEST_NAME} of the characters A-Z, a-z, 0-9 and _ - . : /"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(arguments: &str, item: &str) -> String {
        let expanded = expand(arguments.parse().expect("tokens"), item.parse().expect("tokens"));
        expanded.map(|tokens| tokens.to_string()).expect_err("it is refused").to_string()
    }

    const GOOD: &str = "async fn send(payload: Mail, ctx: JobContext) -> Result<()> { Ok(()) }";

    #[test]
    fn what_is_no_task_is_refused_with_the_cure() {
        for (item, cure) in [
            ("fn send(payload: Mail) -> Result<()> { Ok(()) }", "write `async fn send`"),
            ("async fn send() -> Result<()> { Ok(()) }", "takes its payload"),
            ("async fn send(a: A, b: B, c: C) -> Result<()> { Ok(()) }", "takes its payload"),
            ("async fn send(payload: &Mail) -> Result<()> { Ok(()) }", "without `&`"),
            ("async fn send(payload: impl Trait) -> Result<()> { Ok(()) }", "name it"),
            ("async fn send<T>(payload: T) -> Result<()> { Ok(()) }", "not generic"),
            ("async fn send(&self) -> Result<()> { Ok(()) }", "no self"),
            ("async fn send(payload: Mail) { }", "-> Result<()>"),
            ("struct Mail;", "async fn"),
        ] {
            let message = refusal("", item);
            assert!(message.contains(cure), "{item}: {message}");
        }
    }

    #[test]
    fn options_that_make_no_sense_are_refused_with_the_cure() {
        for (arguments, cure) in [
            ("retries = 3", "max_attempts"),
            ("max_attempts = 0", "max_attempts = 1"),
            ("timeout = \"30 seconds\"", "\"30s\""),
            ("timeout = \"0s\"", "\"30s\""),
            ("timeout = \"99999999999999999999h\"", "\"30s\""),
            ("name = \"a b\"", "characters"),
            ("queue = \"\"", "1 to 200"),
            ("name = \"a\", name = \"b\"", "twice"),
        ] {
            let message = refusal(arguments, GOOD);
            assert!(message.contains(cure), "{arguments}: {message}");
        }
    }

    #[test]
    fn a_task_has_its_functions_name_unless_it_says_another() {
        let written = |arguments: &str| {
            let tokens = expand(arguments.parse().expect("tokens"), GOOD.parse().expect("tokens")).expect("a task");
            tokens.to_string()
        };
        assert!(written("").contains("NAME : & 'static str = \"send\""));
        let said = written("name = \"mail\", max_attempts = 3, timeout = \"2m\"");
        assert!(
            said.contains("= \"mail\"") && said.contains("max_attempts (3u32)") && said.contains("120000u64"),
            "{said}"
        );
    }
}
