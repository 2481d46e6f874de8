/**
 * The keywords of ssh_config(5), up to OpenSSH 10.2, including old names that ssh still accepts.
 * They are used to find misspelt -o options. `Host`, `Match` and `Include` are not options: ssh
 * accepts them only in files.
 */
import { NotationError, quoted } from '../../net/notation.ts';
import { matchPatterns } from '../patterns.ts';
import { parseDirective } from './syntax.ts';

export const KEYWORDS: readonly string[] = `
  AddKeysToAgent AddressFamily BatchMode BindAddress BindInterface CanonicalDomains CanonicalizeFallbackLocal
  CanonicalizeHostname CanonicalizeMaxDots CanonicalizePermittedCNAMEs CASignatureAlgorithms CertificateFile
  ChannelTimeout CheckHostIP Ciphers ClearAllForwardings Compression ConnectionAttempts ConnectTimeout ControlMaster
  ControlPath ControlPersist DynamicForward EnableEscapeCommandline EnableSSHKeysign EscapeChar ExitOnForwardFailure
  FingerprintHash ForkAfterAuthentication ForwardAgent ForwardX11 ForwardX11Timeout ForwardX11Trusted GatewayPorts
  GlobalKnownHostsFile GSSAPIAuthentication GSSAPIClientIdentity GSSAPIDelegateCredentials GSSAPIKexAlgorithms
  GSSAPIKeyExchange GSSAPIRenewalForcesRekey GSSAPIServerIdentity GSSAPITrustDns HashKnownHosts
  HostbasedAcceptedAlgorithms HostbasedAuthentication HostKeyAlgorithms HostKeyAlias HostName IdentitiesOnly
  IdentityAgent IdentityFile IgnoreUnknown IPQoS KbdInteractiveAuthentication KbdInteractiveDevices KexAlgorithms
  KnownHostsCommand LocalCommand LocalForward LogLevel LogVerbose MACs NoHostAuthenticationForLocalhost
  NumberOfPasswordPrompts ObscureKeystrokeTiming PasswordAuthentication PermitLocalCommand PermitRemoteOpen
  PKCS11Provider Port PreferredAuthentications ProxyCommand ProxyJump ProxyUseFdpass PubkeyAcceptedAlgorithms
  PubkeyAuthentication RefuseConnection RekeyLimit RemoteCommand RemoteForward RequestTTY RequiredRSASize
  RevokedHostKeys SecurityKeyProvider SendEnv ServerAliveCountMax ServerAliveInterval SessionType SetEnv StdinNull
  StreamLocalBindMask StreamLocalBindUnlink StrictHostKeyChecking SyslogFacility Tag TCPKeepAlive Tunnel TunnelDevice
  UpdateHostKeys User UserKnownHostsFile VerifyHostKeyDNS VersionAddendum VisualHostKey WarnWeakCrypto XAuthLocation
  ChallengeResponseAuthentication DSAAuthentication HostbasedKeyTypes IdentityFile2 KeepAlive PubkeyAcceptedKeyTypes
  SkeyAuthentication SmartcardDevice TISAuthentication RSAMinSize
`
  .trim()
  .split(/\s+/);

const BY_LOWER_CASE = new Map(KEYWORDS.map((keyword) => [keyword.toLowerCase(), keyword]));
/** Of earlier versions, and Debian's own: ssh takes and ignores them. */
const RETIRED = new Set(
  `afstokenpassing cipher compressionlevel fallbacktorsh globalknownhostsfile2 kerberosauthentication
  kerberostgtpassing protocol protocolkeepalives rhostsauthentication rhostsrsaauthentication
  rsaauthentication setuptimeout useblacklistedkeys useprivilegedport userknownhostsfile2 useroaming usersh`
    .trim()
    .split(/\s+/),
);
/**
 * Keywords without effect. Most are about things that a tunnel doesn't have, or turn something on.
 * None of them can forbid what the embedded client does: it takes no certificates, so that
 * CASignatureAlgorithms is never asked; it learns no further host keys (UpdateHostKeys), and
 * forwards no agent. NoHostAuthenticationForLocalhost must not weaken host key checking.
 */
export const INERT_KEYWORDS: readonly string[] = `
  addkeystoagent canonicaldomains canonicalizefallbacklocal canonicalizemaxdots canonicalizepermittedcnames
  casignaturealgorithms channeltimeout compression connectionattempts controlmaster controlpath
  controlpersist enableescapecommandline enablesshkeysign escapechar
  forkafterauthentication forwardagent forwardx11 forwardx11timeout forwardx11trusted
  gssapiclientidentity gssapidelegatecredentials gssapikexalgorithms gssapirenewalforcesrekey gssapiserveridentity
  gssapitrustdns hostbasedacceptedalgorithms ipqos kbdinteractivedevices localcommand loglevel
  logverbose nohostauthenticationforlocalhost obscurekeystroketiming permitlocalcommand permitremoteopen
  remotecommand requesttty securitykeyprovider sendenv sessiontype setenv stdinnull
  syslogfacility tag tcpkeepalive tunnel tunneldevice updatehostkeys
  versionaddendum visualhostkey warnweakcrypto xauthlocation
`
  .trim()
  .split(/\s+/);

/**
 * What opens listeners here or at the jump host. The tunnel does that itself, or not at all
 * (forwards.ts): ssh must not see them.
 */
export const FORWARD_KEYWORDS: readonly string[] = [
  'localforward',
  'dynamicforward',
  'remoteforward',
];

const OLD_NAMES: Readonly<Record<string, string>> = {
  challengeresponseauthentication: 'kbdinteractiveauthentication',
  skeyauthentication: 'kbdinteractiveauthentication',
  tisauthentication: 'kbdinteractiveauthentication',
  dsaauthentication: 'pubkeyauthentication',
  identityfile2: 'identityfile',
  hostbasedkeytypes: 'hostbasedacceptedalgorithms',
  keepalive: 'tcpkeepalive',
  pubkeyacceptedkeytypes: 'pubkeyacceptedalgorithms',
  rsaminsize: 'requiredrsasize',
  smartcarddevice: 'pkcs11provider',
};
const IN_FILES_ONLY = new Set(['host', 'match', 'include']);
/** Words that differ in more characters than this are not treated as misspellings. */
const MAX_TYPOS = 3;

/**
 * The name that is used in this program, in lower case. Fedora's RSAMinSize became RequiredRSASize.
 */
export function presentName(keyword: string): string {
  return OLD_NAMES[keyword] ?? keyword;
}

/** Whether ssh takes a keyword, in lower case, and ignores it. */
export function isRetired(keyword: string): boolean {
  return RETIRED.has(keyword);
}

/** Whether a keyword is one of ssh_config(5), in any case. */
export function isSshKeyword(keyword: string): boolean {
  return BY_LOWER_CASE.has(keyword.toLowerCase());
}

/** Whether ssh takes a line with this keyword in a file. In lower case. */
export function isFileKeyword(keyword: string): boolean {
  return isSshKeyword(keyword) || RETIRED.has(keyword) || IN_FILES_ONLY.has(keyword);
}

/**
 * Reads the -o options of one command line, in order: like lines of ssh_config, an IgnoreUnknown is
 * for those after it, and only the first one counts.
 */
export class SshOptionReader {
  #ignored: readonly string[] | undefined;

  /**
   * Reads `Keyword=value`, or `Keyword value`, which ssh accepts too. The result is `Keyword=value`
   * with the keyword spelt as in the manual. It is valid as a line of ssh_config and as an -o
   * option of ssh. undefined: it is blank or a comment, which ssh passes over. Throws
   * NotationError.
   */
  read(text: string): string | undefined {
    if (/^[ \t\r\n]*("?#|$)/.test(text)) return undefined;
    if (/[\u0000-\u0008\u000a-\u001f\u007f]/.test(text))
      throw new NotationError(`${quoted(text)} has control characters`);
    const [, quotedKeyword, plainKeyword, value = ''] =
      /^[ \t]*(?:"([^\s="]+)"(?!=)|([^\s="]+))(?:[ \t]*=[ \t]*|[ \t]+)(.*?)[ \t]*$/.exec(text) ??
      [];
    const keyword = quotedKeyword ?? plainKeyword ?? '';
    if (keyword === '' || value === '') {
      throw new NotationError(
        `${quoted(text)} is not of the form Keyword=value`,
        'write it as in ssh_config, with "=" in between: -o ServerAliveInterval=30',
      );
    }
    const known = this.#spelt(keyword);
    if (known === 'IgnoreUnknown') this.#ignored ??= ignoredBy(`${known}=${value}`);
    return `${known}=${value}`;
  }

  #spelt(keyword: string): string {
    const lower = keyword.toLowerCase();
    if (IN_FILES_ONLY.has(lower)) {
      throw new NotationError(
        `${keyword} can't be given as an option, only in a file`,
        'put it into a file, and give that file with -F',
      );
    }
    const known = RETIRED.has(lower) ? keyword : BY_LOWER_CASE.get(lower);
    if (known !== undefined) return known;
    // ssh is told of it as well: a newer one may know it.
    if (matchPatterns(this.#ignored ?? [], lower)) return keyword;
    const nearest = nearestKeyword(keyword);
    throw new NotationError(
      `${quoted(keyword)} is not a keyword of ssh_config`,
      nearest === undefined
        ? `"man ssh_config" lists them; to have it passed over, write before it: -o IgnoreUnknown=${keyword}`
        : `did you mean ${nearest}?`,
    );
  }
}

/** The patterns of an IgnoreUnknown. None if it is malformed: evaluating it refuses it. */
function ignoredBy(line: string): readonly string[] {
  try {
    const [patterns = ''] = parseDirective(line, 'IgnoreUnknown')?.args ?? [];
    return patterns.toLowerCase().split(',');
  } catch {
    return [];
  }
}

function nearestKeyword(text: string): string | undefined {
  let nearest: string | undefined;
  let fewest = Math.min(MAX_TYPOS, Math.floor(text.length / 2)) + 1;
  for (const [lower, keyword] of BY_LOWER_CASE) {
    const typos = editDistance(text.toLowerCase(), lower);
    if (typos < fewest) {
      fewest = typos;
      nearest = keyword;
    }
  }
  return nearest;
}

/** Characters inserted, removed or replaced (Levenshtein). */
function editDistance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, index) => index);
  for (let i = 0; i < from.length; i += 1) {
    const next = [i + 1];
    for (let j = 0; j < to.length; j += 1) {
      const replaced = (row[j] ?? 0) + (from[i] === to[j] ? 0 : 1);
      next.push(Math.min(replaced, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1));
    }
    row = next;
  }
  return row[to.length] ?? 0;
}
