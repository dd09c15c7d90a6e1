/* Wine 8 lacks this library, from which Rust's standard library takes its random
   bytes; without it every program ends at once, silently. */
#include <windows.h>

BOOLEAN NTAPI SystemFunction036(PVOID buffer, ULONG length); /* RtlGenRandom */

__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE to, SIZE_T left)
{
    const SIZE_T most = 1 << 30;

    while (left > 0) {
        ULONG now = (ULONG)(left < most ? left : most);
        if (!SystemFunction036(to, now))
            return FALSE;
        to += now;
        left -= now;
    }
    return TRUE;
}
