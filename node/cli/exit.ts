/**
 * How commands end: 0 when what they check holds, 1 when it does not or something failed, 2 when called wrongly.
 */

/** The command was called wrongly: exit code 2. */
export class WrongCallError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'WrongCallError';
  }
}
