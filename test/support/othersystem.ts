/**
 * A module that Node loads before the program: it is then on the system that TUNNEL_TEST_SYSTEM
 * names. What Node lacks on Windows is taken away. Whoever starts it hides /proc and the native
 * files as well.
 */
const { TUNNEL_TEST_SYSTEM: system } = process.env;
if (system !== undefined) {
  Object.defineProperty(process, 'platform', { value: system });
  if (system === 'win32') {
    const ofUsers = /^(get|set)e?[ug]id$|^(get|set)groups$|^initgroups$/;
    for (const name of Object.keys(process))
      if (ofUsers.test(name)) Reflect.deleteProperty(process, name);
  }
}
