/*
 * openssl.h - the few functions of OpenSSL 3 (and 1.1.1) that gcm.c uses.
 *
 * Node contains OpenSSL and exports it to its addons. The headers come with Node's own, which not
 * every installation has. So the functions are declared here, with opaque types, and looked up at
 * run time: a process that doesn't export them lacks only this module. Manual pages:
 * EVP_EncryptInit(3), RAND_bytes(3).
 */
#ifndef TUNNEL_OPENSSL_H
#define TUNNEL_OPENSSL_H

typedef struct evp_cipher_st EVP_CIPHER;
typedef struct evp_cipher_ctx_st EVP_CIPHER_CTX;

enum { EVP_CTRL_AEAD_GET_TAG = 0x10, EVP_CTRL_AEAD_SET_TAG = 0x11 }; /* openssl/evp.h */

struct openssl {
  EVP_CIPHER_CTX *(*cipher_ctx_new)(void);
  void (*cipher_ctx_free)(EVP_CIPHER_CTX *ctx);
  const EVP_CIPHER *(*aes_128_gcm)(void);
  const EVP_CIPHER *(*aes_256_gcm)(void);
  int (*cipher_init)(EVP_CIPHER_CTX *ctx, const EVP_CIPHER *cipher, void *engine,
                     const unsigned char *key, const unsigned char *nonce, int encrypts);
  int (*cipher_update)(EVP_CIPHER_CTX *ctx, unsigned char *out, int *out_length,
                       const unsigned char *in, int in_length);
  int (*cipher_final)(EVP_CIPHER_CTX *ctx, unsigned char *out, int *out_length);
  int (*cipher_ctrl)(EVP_CIPHER_CTX *ctx, int type, int argument, void *pointer);
  int (*rand_bytes)(unsigned char *out, int length);
};

/* NULL: this process doesn't have all of them. */
const struct openssl *openssl_find(void);

#endif
