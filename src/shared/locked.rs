//! What values and arrays with a lock have alike, written once.

macro_rules! locked {
    ($name:ident, $raw:ident, $guard:ident, $what:literal) => {
        impl<T> $name<T> {
            #[doc = concat!("Takes the lock, waiting until it is free; the guard is used as the ", $what, ".")]
            ///
            /// # Errors
            /// As [`Lock::lock`].
            ///
            /// # Cancel safety
            /// As [`Lock::lock`].
            pub async fn lock(&self) -> Result<$guard<'_, T>, SyncError> {
                Ok($guard { raw: &self.raw, guard: self.lock.lock().await? })
            }

            /// Takes the lock if it is free.
            ///
            /// # Errors
            /// [`SyncError::WouldBlock`] if it is not.
            pub fn try_lock(&self) -> Result<$guard<'_, T>, SyncError> {
                Ok($guard { raw: &self.raw, guard: self.lock.try_lock()? })
            }

            /// [`lock`](Self::lock), but waits no longer than `limit`.
            ///
            /// # Errors
            /// As [`Lock::lock_timeout`].
            ///
            /// # Cancel safety
            /// As [`Lock::lock`].
            pub async fn lock_timeout(&self, limit: Duration) -> Result<$guard<'_, T>, SyncError> {
                Ok($guard { raw: &self.raw, guard: self.lock.lock_timeout(limit).await? })
            }

            /// [`lock`](Self::lock) on a thread that may wait.
            ///
            /// # Errors
            /// As [`lock`](Self::lock).
            pub fn blocking_lock(&self) -> Result<$guard<'_, T>, SyncError> {
                Ok($guard { raw: &self.raw, guard: self.lock.blocking_lock()? })
            }

            /// [`lock_timeout`](Self::lock_timeout) on a thread that may wait.
            ///
            /// # Errors
            /// As [`Lock::lock_timeout`].
            pub fn blocking_lock_timeout(
                &self,
                limit: Duration,
            ) -> Result<$guard<'_, T>, SyncError> {
                Ok($guard { raw: &self.raw, guard: self.lock.blocking_lock_timeout(limit)? })
            }

            /// The lock: for a [`Condition`](crate::Condition), say, whose guards are then used with [`raw`](Self::raw).
            #[must_use]
            pub fn get_lock(&self) -> &Lock {
                &self.lock
            }

            #[doc = concat!("The ", $what, " without the lock: for who holds it, or knows that nobody writes.")]
            #[must_use]
            #[doc(alias = "get_obj")]
            pub fn raw(&self) -> &$raw<T> {
                &self.raw
            }
        }

        impl<T> Clone for $name<T> {
            fn clone(&self) -> Self {
                $name { raw: self.raw.clone(), lock: self.lock.clone() }
            }
        }

        impl<T: Pod + fmt::Debug> fmt::Debug for $name<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name))
                    .field("value", &self.raw)
                    .field("lock", &self.lock)
                    .finish()
            }
        }

        /// Works only in what procpool itself carries.
        impl<T> Serialize for $name<T> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                (&self.raw, &self.lock).serialize(serializer)
            }
        }

        impl<'de, T> Deserialize<'de> for $name<T> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let (raw, lock) = Deserialize::deserialize(deserializer)?;
                Ok($name { raw, lock })
            }
        }

        #[doc = concat!("The lock of a shared ", $what, ", held; it is used as the ", $what, ", and dropping it unlocks.")]
        #[must_use = "the lock is released when this is dropped"]
        pub struct $guard<'a, T> {
            raw: &'a $raw<T>,
            guard: LockGuard<'a>,
        }

        impl<T> $guard<'_, T> {
            #[doc = concat!("Whether who held the lock before has ended with it: the ", $what, " may be half changed.")]
            #[must_use]
            pub fn recovered(&self) -> bool {
                self.guard.recovered()
            }
        }

        impl<T> Deref for $guard<'_, T> {
            type Target = $raw<T>;

            fn deref(&self) -> &$raw<T> {
                self.raw
            }
        }

        impl<T: Pod + fmt::Debug> fmt::Debug for $guard<'_, T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($guard)).field(self.raw).finish()
            }
        }
    };
}

pub(super) use locked;
