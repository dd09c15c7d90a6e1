//! What all proxies have alike, written once.

/// A proxy: its traits.
macro_rules! proxy {
    ($name:ident, $kind:expr) => {
        proxy!($name<>, $kind);
    };
    ($name:ident<$($param:ident),*>, $kind:expr) => {
        impl<$($param),*> $crate::manager::proxy::Proxy for $name<$($param),*> {}

        #[allow(private_interfaces, reason = "it is sealed by that")]
        impl<$($param),*> $crate::manager::proxy::Sealed for $name<$($param),*> {
            const KIND: $crate::manager::op::Kind = $kind;

            fn of(core: ::std::sync::Arc<$crate::manager::core::Core>) -> Self {
                $name { core, types: ::std::marker::PhantomData }
            }

            fn core(&self) -> &::std::sync::Arc<$crate::manager::core::Core> {
                &self.core
            }
        }

        /// A clone stands for the same object.
        impl<$($param),*> Clone for $name<$($param),*> {
            fn clone(&self) -> Self {
                $name { core: self.core.clone(), types: ::std::marker::PhantomData }
            }
        }

        impl<$($param),*> ::std::fmt::Debug for $name<$($param),*> {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                write!(f, "{}({:?})", stringify!($name), self.core)
            }
        }

        /// Which object it stands for, as people say it. What is in it has to be asked for.
        impl<$($param),*> ::std::fmt::Display for $name<$($param),*> {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                write!(f, "{:?}", self.core)
            }
        }

        /// To another process goes where the object is, and a key to it.
        impl<$($param),*> ::serde::Serialize for $name<$($param),*> {
            fn serialize<S: ::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                $crate::manager::core::serialize(&self.core, serializer)
            }
        }

        impl<'de, $($param),*> ::serde::Deserialize<'de> for $name<$($param),*> {
            fn deserialize<D: ::serde::Deserializer<'de>>(
                deserializer: D,
            ) -> Result<Self, D::Error> {
                let core = $crate::manager::core::deserialize($kind, deserializer)?;
                Ok($name { core, types: ::std::marker::PhantomData })
            }
        }
    };
}

/// Methods, each as a request and on a thread that may wait.
macro_rules! methods {
    ($(
        $(#[$meta:meta])*
        fn $name:ident | $blocking:ident $([$($generics:tt)*])? (
            &$this:ident $(, $arg:ident: $ty:ty)* $(,)?
        ) -> $result:ty $(where [$($bounds:tt)*])? $body:block
    )*) => {$(
        $(#[$meta])*
        pub fn $name $(<$($generics)*>)? (&$this $(, $arg: $ty)*) -> Request<$result>
        $(where $($bounds)*)?
        $body

        #[doc = concat!("[`", stringify!($name), "`](Self::", stringify!($name), ") on a thread that may wait.")]
        ///
        /// # Errors
        #[doc = concat!("As [`", stringify!($name), "`](Self::", stringify!($name), ").")]
        pub fn $blocking $(<$($generics)*>)? (
            &$this $(, $arg: $ty)*
        ) -> Result<$result, ManagerError>
        $(where $($bounds)*)?
        {
            $this.$name($($arg),*).block()
        }
    )*};
}

/// A proxy of a type of a program's own, all but its methods.
#[doc(hidden)]
#[macro_export]
macro_rules! __own_proxy {
    ($(#[$meta:meta])* $vis:vis struct $name:ident, $type_name:expr) => {
        $(#[$meta])*
        $vis struct $name($crate::__private::OwnProxy);

        impl $crate::__private::Wraps for $name {
            const NAME: &'static str = $type_name;

            fn wrap(inner: $crate::__private::OwnProxy) -> Self {
                $name(inner)
            }

            fn inner(&self) -> &$crate::__private::OwnProxy {
                &self.0
            }
        }

        /// A clone stands for the same object.
        impl ::core::clone::Clone for $name {
            fn clone(&self) -> Self {
                $name(::core::clone::Clone::clone(&self.0))
            }
        }

        impl ::core::fmt::Debug for $name {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                ::core::write!(f, "{}({})", ::core::stringify!($name), self.0)
            }
        }

        /// Which object it stands for, as people say it.
        impl ::core::fmt::Display for $name {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                ::core::fmt::Display::fmt(&self.0, f)
            }
        }

        /// To another process goes where the object is, and a key to it.
        impl $crate::__private::serde::Serialize for $name {
            fn serialize<S: $crate::__private::serde::Serializer>(
                &self,
                serializer: S,
            ) -> ::core::result::Result<S::Ok, S::Error> {
                $crate::__private::to_other(self, serializer)
            }
        }

        impl<'de> $crate::__private::serde::Deserialize<'de> for $name {
            fn deserialize<D: $crate::__private::serde::Deserializer<'de>>(
                deserializer: D,
            ) -> ::core::result::Result<Self, D::Error> {
                $crate::__private::from_other(deserializer)
            }
        }
    };
}
