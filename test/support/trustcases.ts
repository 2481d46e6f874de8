/**
 * Settings of ssh_config that can forbid something, each with what ssh does, and what the program
 * does with the embedded client, with the system's ssh, and where no ssh is installed. For
 * test/interop/trustsettings.test.ts, which makes the files that they name.
 */
/** `up`, or the code of the error. */
export type Verdict = string;

export interface TrustCase {
  readonly title: string;
  /** Lines of ssh_config for the host, before those that every case has. `$D`: the directory. */
  readonly config: string;
  /** What ssh does by itself: it connects, or it doesn't. */
  readonly ssh: boolean;
  /** Of the embedded client. */
  readonly ssh2: Verdict;
  /** Where no ssh is installed. Default: as `ssh2`. */
  readonly without?: Verdict;
  /** Of --transport openssh. Default: as `ssh2`. */
  readonly openssh?: Verdict;
  /** --host-key with the fingerprint of that key. ssh itself is not tried then. */
  readonly options?: { readonly hostKey: 'ed25519' | 'rsa' };
}

/** The key that every known_hosts has. */
export const ED = 'HostKeyAlgorithms ssh-ed25519';
const RSA = 'HostKeyAlgorithms rsa-sha2-512,rsa-sha2-256';
const up = { ssh: true, ssh2: 'up' } as const;
const refused = (ssh2: Verdict, others: Partial<TrustCase> = {}) => ({
  ssh: false,
  ssh2,
  ...others,
});
const REVOKED = refused('host-key-revoked');
const UNCHECKED = refused('host-key-unchecked');
const UNKNOWN = refused('host-key-unknown');
const NO_COMMON = refused('jumphost-no-common-algorithm');
const NO_KEY = refused('auth-failed');

export const TRUST_CASES: readonly TrustCase[] = [
  { title: 'nothing is set', config: '', ...up },

  {
    title: 'RevokedHostKeys: a text with the key',
    config: `${ED}\nRevokedHostKeys $D/has`,
    ...REVOKED,
  },
  {
    title: 'RevokedHostKeys: a text with another key',
    config: `${ED}\nRevokedHostKeys $D/other`,
    ...up,
  },
  {
    title: 'RevokedHostKeys: a key behind others, comments and blank lines',
    config: `${ED}\nRevokedHostKeys $D/mixed`,
    ...REVOKED,
  },
  {
    title: 'RevokedHostKeys: a certificate of the key',
    config: `${ED}\nRevokedHostKeys $D/cert`,
    ...REVOKED,
  },
  {
    title: 'RevokedHostKeys: a line that is no key',
    config: `${ED}\nRevokedHostKeys $D/garbage`,
    ...UNCHECKED,
  },
  { title: 'RevokedHostKeys: an empty file', config: `${ED}\nRevokedHostKeys $D/empty`, ...up },
  {
    title: 'RevokedHostKeys: a file that is missing',
    config: `${ED}\nRevokedHostKeys $D/absent`,
    ...UNCHECKED,
  },
  { title: 'RevokedHostKeys: a directory', config: `${ED}\nRevokedHostKeys $D/dir`, ...UNCHECKED },
  {
    title: 'RevokedHostKeys: a KRL with the key',
    config: `${ED}\nRevokedHostKeys $D/has.krl`,
    ...REVOKED,
  },
  {
    title: 'RevokedHostKeys: a KRL with its SHA-256 digest',
    config: `${ED}\nRevokedHostKeys $D/sha256.krl`,
    ...REVOKED,
  },
  {
    title: 'RevokedHostKeys: a KRL with its SHA-1 digest',
    config: `${ED}\nRevokedHostKeys $D/sha1.krl`,
    ...REVOKED,
  },
  {
    title: 'RevokedHostKeys: a KRL with another key, and certificates',
    config: `${ED}\nRevokedHostKeys $D/other.krl`,
    ...up,
  },
  {
    title: 'RevokedHostKeys: a KRL that is cut off',
    config: `${ED}\nRevokedHostKeys $D/cut.krl`,
    ...UNCHECKED,
  },
  {
    title: 'RevokedHostKeys: a KRL with an unknown section',
    config: `${ED}\nRevokedHostKeys $D/unknown.krl`,
    ...UNCHECKED,
  },
  {
    title: 'RevokedHostKeys none',
    config: `${ED}\nRevokedHostKeys none\nRevokedHostKeys $D/has`,
    ...up,
  },
  {
    title: 'RevokedHostKeys, first of two',
    config: `${ED}\nRevokedHostKeys $D/has\nRevokedHostKeys none`,
    ...REVOKED,
  },
  {
    title: 'RevokedHostKeys, with --host-key',
    config: `${ED}\nRevokedHostKeys $D/has`,
    ...REVOKED,
    options: { hostKey: 'ed25519' },
  },
  {
    title: 'RevokedHostKeys unreadable, with --host-key',
    config: `${ED}\nRevokedHostKeys $D/absent`,
    ...UNCHECKED,
    options: { hostKey: 'ed25519' },
  },

  {
    title: 'KnownHostsCommand that knows the key',
    config: `UserKnownHostsFile none\n${ED}\nKnownHostsCommand $D/prints $D/known`,
    ...up,
  },
  {
    title: 'KnownHostsCommand that knows another key',
    config: `UserKnownHostsFile none\n${ED}\nKnownHostsCommand $D/prints $D/changed`,
    ...refused('host-key-changed'),
  },
  {
    title: 'KnownHostsCommand that revokes the key',
    config: `${ED}\nKnownHostsCommand $D/prints $D/revoked`,
    ...REVOKED,
  },
  {
    title: 'KnownHostsCommand that knows nothing',
    config: `UserKnownHostsFile none\n${ED}\nKnownHostsCommand $D/prints $D/empty`,
    ...UNKNOWN,
  },
  {
    title: 'KnownHostsCommand that fails',
    config: `${ED}\nKnownHostsCommand $D/fails`,
    ...UNCHECKED,
  },
  {
    title: 'KnownHostsCommand that prints the key and fails',
    config: `UserKnownHostsFile none\n${ED}\nKnownHostsCommand $D/fails $D/known`,
    ...UNCHECKED,
  },
  {
    title: 'KnownHostsCommand with tokens',
    config: `UserKnownHostsFile none\n${ED}\nKnownHostsCommand $D/tokens %H %t %K %I %f %h %n %p %r %%`,
    ...up,
  },
  {
    title: 'KnownHostsCommand with an MD5 fingerprint',
    config: `UserKnownHostsFile none\nFingerprintHash md5\n${ED}\nKnownHostsCommand $D/md5 %H %t %K %f`,
    ...up,
  },
  {
    title: 'KnownHostsCommand with an MD5 fingerprint that it revokes',
    config: `FingerprintHash md5\n${ED}\nKnownHostsCommand $D/md5revokes %H %t %K %f`,
    ...REVOKED,
  },
  {
    title: 'KnownHostsCommand with the type of key to ask for',
    config: 'UserKnownHostsFile none\nKnownHostsCommand $D/prints $D/knownecdsa',
    ...up,
  },
  { title: 'KnownHostsCommand none', config: `${ED}\nKnownHostsCommand none`, ...up },
  {
    title: 'KnownHostsCommand that is not there',
    config: `UserKnownHostsFile none\n${ED}\nKnownHostsCommand $D/absent %H`,
    ...UNCHECKED,
    openssh: 'host-key-unknown',
  },
  {
    title: 'KnownHostsCommand that revokes the key, with --host-key',
    config: `${ED}\nKnownHostsCommand $D/prints $D/revoked`,
    ...REVOKED,
    options: { hostKey: 'ed25519' },
  },

  {
    title: 'VerifyHostKeyDNS yes',
    config: `VerifyHostKeyDNS yes`,
    ssh: true,
    ssh2: 'transport-unfit',
    without: 'openssh-not-found',
    openssh: 'up',
  },
  {
    title: 'VerifyHostKeyDNS ask',
    config: `VerifyHostKeyDNS ask`,
    ssh: true,
    ssh2: 'transport-unfit',
    without: 'openssh-not-found',
    openssh: 'up',
  },
  { title: 'VerifyHostKeyDNS no', config: `VerifyHostKeyDNS no`, ...up },
  {
    title: 'VerifyHostKeyDNS yes, with --host-key',
    config: `${ED}\nVerifyHostKeyDNS yes`,
    ...up,
    options: { hostKey: 'ed25519' },
  },

  {
    title: 'RequiredRSASize above the host key',
    config: `${RSA}\nRequiredRSASize 3072`,
    ...refused('host-key-weak'),
  },
  { title: 'RequiredRSASize of the host key', config: `${RSA}\nRequiredRSASize 2048`, ...up },
  {
    title: 'RequiredRSASize above the host key, with --host-key',
    config: `${RSA}\nRequiredRSASize 3072`,
    ...refused('host-key-weak'),
    options: { hostKey: 'rsa' },
  },
  {
    title: "RequiredRSASize above the user's key",
    config: 'IdentityFile $D/user_rsa\nRequiredRSASize 3072',
    ...NO_KEY,
  },
  {
    title: "RequiredRSASize of the user's key",
    config: 'IdentityFile $D/user_rsa\nRequiredRSASize 2048',
    ...up,
  },
  {
    title: 'RequiredRSASize that is no number',
    config: 'RequiredRSASize big',
    ...refused('usage'),
  },

  {
    title: 'HostKeyAlgorithms that the server lacks',
    config: 'HostKeyAlgorithms ecdsa-sha2-nistp521',
    ...NO_COMMON,
  },
  {
    title: 'HostKeyAlgorithms of an unknown key',
    config: 'UserKnownHostsFile $D/known\nHostKeyAlgorithms ecdsa-sha2-nistp256',
    ...UNKNOWN,
    openssh: 'host-key-changed',
  },
  { title: 'HostKeyAlgorithms with a pattern', config: 'HostKeyAlgorithms ssh-ed25519*', ...up },
  {
    title: 'HostKeyAlgorithms without the known key',
    config: 'UserKnownHostsFile $D/known\nHostKeyAlgorithms -ssh-ed25519',
    ...UNKNOWN,
    openssh: 'host-key-changed',
  },
  {
    title: 'HostKeyAlgorithms without others, known keys first',
    config: 'UserKnownHostsFile $D/knownecdsa\nHostKeyAlgorithms -rsa-sha2-256',
    ...up,
  },
  {
    title: 'HostKeyAlgorithms with another first',
    config: 'UserKnownHostsFile $D/knownecdsa\nHostKeyAlgorithms ^rsa-sha2-512',
    ...UNKNOWN,
    openssh: 'host-key-changed',
  },
  {
    title: 'HostKeyAlgorithms of certificates only',
    config: 'HostKeyAlgorithms ssh-ed25519-cert-v01@openssh.com',
    ...refused('algorithms-unknown'),
    openssh: 'jumphost-no-common-algorithm',
  },
  {
    title: 'HostKeyAlgorithms with "!"',
    config: 'HostKeyAlgorithms *,!ssh-ed25519',
    ...refused('usage'),
  },
  {
    title: 'HostKeyAlgorithms in two words',
    config: 'HostKeyAlgorithms ssh-ed25519 rsa-sha2-512',
    ...refused('usage'),
  },

  {
    title: 'PubkeyAcceptedAlgorithms without the key',
    config: 'PubkeyAcceptedAlgorithms rsa-sha2-512',
    ...NO_KEY,
  },
  {
    title: 'PubkeyAcceptedAlgorithms with the key removed',
    config: 'PubkeyAcceptedAlgorithms -ssh-ed25519',
    ...NO_KEY,
  },
  {
    title: 'PubkeyAcceptedAlgorithms with the key',
    config: 'PubkeyAcceptedAlgorithms ssh-ed25519',
    ...up,
  },
  {
    title: 'PubkeyAcceptedAlgorithms by its old name',
    config: 'PubkeyAcceptedKeyTypes rsa-sha2-512',
    ...NO_KEY,
  },
  {
    title: 'PubkeyAcceptedAlgorithms with a signature of the RSA key',
    config: 'IdentityFile $D/user_rsa\nPubkeyAcceptedAlgorithms rsa-sha2-256',
    ...up,
  },
  {
    title: 'PubkeyAcceptedAlgorithms without SHA-2 for the RSA key',
    config:
      'IdentityFile $D/user_rsa\nPubkeyAcceptedAlgorithms ssh-ed25519,rsa-sha2-256-cert-v01@openssh.com',
    ...NO_KEY,
  },
  { title: 'PubkeyAuthentication no', config: 'PubkeyAuthentication no', ...NO_KEY },
  {
    title: 'PreferredAuthentications without publickey',
    config: 'PreferredAuthentications password',
    ...NO_KEY,
  },
  { title: 'PreferredAuthentications none', config: 'PreferredAuthentications none', ...NO_KEY },
  { title: 'IdentityFile none', config: 'IdentityFile none', ...NO_KEY },

  {
    title: 'KexAlgorithms that the server lacks',
    config: 'KexAlgorithms diffie-hellman-group1-sha1',
    ...NO_COMMON,
  },
  {
    title: 'KexAlgorithms without those of the server',
    config:
      'KexAlgorithms -curve25519*,diffie*,ecdh-sha2-nistp256,ecdh-sha2-nistp384,ecdh-sha2-nistp521,sntrup*,mlkem*',
    ...refused('algorithms-unknown'),
    openssh: 'jumphost-no-common-algorithm',
  },
  { title: 'KexAlgorithms in front', config: 'KexAlgorithms ^ecdh-sha2-nistp256', ...up },
  { title: 'Ciphers that the server lacks', config: 'Ciphers 3des-cbc', ...NO_COMMON },
  { title: 'Ciphers with a pattern', config: 'Ciphers aes*-ctr', ...refused('usage') },
  {
    title: 'MACs that the server lacks',
    config: 'Ciphers aes128-ctr\nMACs hmac-md5',
    ...NO_COMMON,
  },
  {
    title: 'Ciphers none',
    config: 'Ciphers none',
    ...refused('usage'),
  },

  { title: '@revoked', config: `${ED}\nUserKnownHostsFile $D/known $D/revoked`, ...REVOKED },
  {
    title: '@revoked in the global file, with --host-key',
    config: `${ED}\nGlobalKnownHostsFile $D/revoked`,
    ...REVOKED,
    options: { hostKey: 'ed25519' },
  },
  {
    title: '@revoked of a hashed name',
    config: `${ED}\nUserKnownHostsFile $D/known $D/revokedhashed`,
    ...REVOKED,
  },
  {
    title: '@cert-authority only',
    config: `${ED}\nUserKnownHostsFile $D/authority`,
    ...UNKNOWN,
    without: 'openssh-not-found',
  },
  { title: 'UserKnownHostsFile none', config: 'UserKnownHostsFile none', ...UNKNOWN },
  { title: 'UserKnownHostsFile /dev/null', config: 'UserKnownHostsFile /dev/null', ...UNKNOWN },
  {
    title: 'UserKnownHostsFile with a changed key',
    config: `${ED}\nUserKnownHostsFile $D/changed`,
    ...refused('host-key-changed'),
  },
  {
    title: 'GlobalKnownHostsFile with the key',
    config: `UserKnownHostsFile none\nGlobalKnownHostsFile $D/known`,
    ...up,
  },
  { title: 'HostKeyAlias that is not known', config: 'HostKeyAlias other', ...UNKNOWN },
  { title: 'HostKeyAlias none is a name', config: 'HostKeyAlias none', ...UNKNOWN },
  {
    title: 'StrictHostKeyChecking no for a changed key',
    config: `${ED}\nUserKnownHostsFile $D/changed\nStrictHostKeyChecking no`,
    ssh: true,
    ssh2: 'host-key-changed',
  },
  {
    title: 'StrictHostKeyChecking maybe',
    config: 'StrictHostKeyChecking maybe',
    ...refused('usage'),
  },
  {
    title: 'NoHostAuthenticationForLocalhost',
    config: 'UserKnownHostsFile none\nNoHostAuthenticationForLocalhost yes',
    ssh: true,
    ssh2: 'host-key-unknown',
  },
  { title: 'CheckHostIP yes for an address', config: 'CheckHostIP yes', ...up },
  { title: 'CASignatureAlgorithms', config: 'CASignatureAlgorithms ssh-ed25519', ...up },
  {
    title: 'UpdateHostKeys, PermitLocalCommand, ForwardAgent, SecurityKeyProvider',
    config:
      'UpdateHostKeys no\nPermitLocalCommand no\nForwardAgent no\nSecurityKeyProvider /nonexistent',
    ...up,
  },
  { title: 'RekeyLimit', config: 'RekeyLimit 1G 1h', ...up },
  { title: 'a keyword that nobody knows', config: 'RevokedHostKeyz $D/has', ...refused('usage') },

  {
    title: 'Match exec with RevokedHostKeys',
    config: `Match exec "true"\n${ED}\nRevokedHostKeys $D/has\nMatch all`,
    ...REVOKED,
    without: 'usage',
  },
  {
    title: 'Match exec with what changes nothing',
    config: `Match exec "true"\nForwardAgent yes\nCompression yes\nMatch all`,
    ...up,
  },
  {
    title: 'Match exec with an Include',
    config: `Match exec "true"\nInclude $D/includesrevoked\nMatch all`,
    ...REVOKED,
    without: 'usage',
  },
  { title: 'an Include', config: `Include $D/includesrevoked`, ...REVOKED },
  {
    title: 'CanonicalizeHostname',
    config: `CanonicalizeHostname yes\nCanonicalizeFallbackLocal yes\nMatch canonical\n${ED}\nRevokedHostKeys $D/has\nMatch all`,
    ...REVOKED,
    without: 'usage',
  },
];
