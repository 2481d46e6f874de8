/** What things are called in the manifests and in the image. */
import { KEYS_CACHE, KEYS_COMMAND_PATH } from '../keyscommand.ts';

/** The name of every object, and the value of its label. */
export const NAME = 'jumphost';
export const LABELS = { 'app.kubernetes.io/name': NAME };

/** Whom sshd runs as, and his group. Above what distributions and most nodes give to people. */
export const UID = 10022;

/** Where sshd listens: ports below 1024 need a capability. */
export const SSH_PORT = 2222;
/** The name of that port. */
export const PORT_NAME = 'ssh';

export const HOST_KEY_SECRET = `${NAME}-host-key`;
export const HOST_KEY = 'ssh_host_ed25519_key';
export const CONFIG_MAP = `${NAME}-config`;
export const KEYS_MAP = `${NAME}-keys`;

/** Where the volumes are mounted. */
export const CONFIG_DIRECTORY = '/etc/tunnel/config';
export const KEYS_DIRECTORY = '/etc/tunnel/keys';
export const HOST_KEY_DIRECTORY = '/etc/tunnel/host-key';
export const CACHE_DIRECTORY = '/var/cache/tunnel';

export const CONFIG_FILE = 'sshd_config';
export const KEYS_FILE = 'authorized_keys';
export const SCRIPT_FILE = 'tunnel-authorized-keys';

export const SCRIPT_PATH = KEYS_COMMAND_PATH;
/** The script makes it: sshd's user can't have the volume itself. */
export const CACHE_PATH = KEYS_CACHE.replace('/var/cache', CACHE_DIRECTORY);
