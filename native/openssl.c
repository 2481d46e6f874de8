/* openssl.c - finds OpenSSL's functions in the running process; see openssl.h. */
#include "openssl.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

static bool find(const char *name, void *into) {
  void *const symbol = dlsym(RTLD_DEFAULT, name);
  /* ISO C can't convert an object pointer to a function pointer (dlsym(3)). */
  memcpy(into, &symbol, sizeof symbol);
  return symbol != NULL;
}

static struct openssl found;
static bool complete;

static void look(void) {
  complete =
      find("EVP_CIPHER_CTX_new", &found.cipher_ctx_new) &&
      find("EVP_CIPHER_CTX_free", &found.cipher_ctx_free) &&
      find("EVP_aes_128_gcm", &found.aes_128_gcm) && find("EVP_aes_256_gcm", &found.aes_256_gcm) &&
      find("EVP_CipherInit_ex", &found.cipher_init) &&
      find("EVP_CipherUpdate", &found.cipher_update) &&
      find("EVP_CipherFinal_ex", &found.cipher_final) &&
      find("EVP_CIPHER_CTX_ctrl", &found.cipher_ctrl) && find("RAND_bytes", &found.rand_bytes);
}

const struct openssl *openssl_find(void) {
  /* A process may have several threads with JavaScript. */
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  return pthread_once(&once, look) == 0 && complete ? &found : NULL;
}
