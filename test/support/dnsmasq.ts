/**
 * dnsmasq at one address, in the foreground; it knows nothing but what further arguments tell it.
 */
export function dnsmasqAt(address: string, ...args: readonly string[]): string[] {
  return [
    'dnsmasq',
    '--keep-in-foreground',
    '--no-resolv',
    '--no-hosts',
    '--pid-file=',
    '--user=root',
    '--bind-interfaces',
    `--listen-address=${address}`,
    ...args,
  ];
}
