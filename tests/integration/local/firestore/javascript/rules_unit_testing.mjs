// Google's own test library for security rules, unmodified. It speaks gRPC.
import {
  initializeTestEnvironment, assertFails, assertSucceeds,
} from "@firebase/rules-unit-testing";
import { collection, doc, getDoc, getDocs, setDoc, setLogLevel } from "firebase/firestore";

setLogLevel("silent");
const [host, port] = process.argv[2].split(":");
const rules = `rules_version = '2';
service cloud.firestore { match /databases/{db}/documents {
  match /users/{uid} { allow read, write: if request.auth.uid == uid; }
  match /public/{id} { allow read: if true; }
} }`;
const firestore = { host, port: Number(port), rules };
const environment = await initializeTestEnvironment({ projectId: "demo-rules", firestore });
await environment.clearFirestore();
const alice = environment.authenticatedContext("alice").firestore();
const nobody = environment.unauthenticatedContext().firestore();
await assertSucceeds(setDoc(doc(alice, "users/alice"), { a: 1 }));
await assertSucceeds(getDoc(doc(alice, "users/alice")));
await assertSucceeds(getDoc(doc(nobody, "public/x")));
await assertFails(setDoc(doc(alice, "users/bob"), { a: 1 }));
await assertFails(getDoc(doc(nobody, "users/alice")));
await assertFails(setDoc(doc(nobody, "public/x"), {}));
await assertFails(getDocs(collection(alice, "users")));
await environment.withSecurityRulesDisabled(async (context) => {
  await setDoc(doc(context.firestore(), "users/bob"), { b: 1 });
  const found = await getDoc(doc(context.firestore(), "users/bob"));
  if (!found.exists()) throw new Error("the write without rules was lost");
});
await environment.clearFirestore();
await environment.withSecurityRulesDisabled(async (context) => {
  const found = await getDoc(doc(context.firestore(), "users/bob"));
  if (found.exists()) throw new Error("clearFirestore left a document");
});
const broken = { host, port: Number(port), rules: "service cloud.firestore {" };
const loaded = await initializeTestEnvironment({ projectId: "demo-broken", firestore: broken })
  .then(() => true, () => false);
if (loaded) throw new Error("rules that do not parse were loaded");
await environment.cleanup();
console.log("ok");
process.exit(0);
