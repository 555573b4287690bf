/** The few lines of observer that model and views share; the standalone page carries no framework. */

export class Emitter<T = void> {
  /** Returns what undoes it. */
  connect(listener: (value: T) => void): () => void {
    this._listeners.add(listener);
    return () => this._listeners.delete(listener);
  }

  emit(value: T): void {
    for (const listener of [...this._listeners]) {
      listener(value);
    }
  }

  clear(): void {
    this._listeners.clear();
  }

  private _listeners = new Set<(value: T) => void>();
}
